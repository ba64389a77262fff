//! What a plan's files come to: rows to learn from, documents and questions held out, and what there is to say of them.

use super::batch::{Rows, fit};
use super::data::{self, Sample, split};
use super::eval::{Question, read_questions, unseen};
use super::memory::data_fits;
use super::plan::{Format, Plan};
use super::template::{Document, Renderer};
use crate::adapter::DataFile;
use crate::base::Base;
use crate::error::Result;
use rayon::prelude::*;

/// Everything that a run reads before its first step.
pub struct Material {
    /// Text to tokens and back.
    pub renderer: Renderer,
    /// What is learnt from.
    pub rows: Rows,
    /// What the held-out loss is taken on.
    pub held_out: Vec<Document>,
    /// What is asked before and after.
    pub questions: Vec<Question>,
    /// The data files.
    pub files: Vec<DataFile>,
    /// What is worth saying of all this.
    pub counts: Counts,
}

/// How the data came out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples learnt from.
    pub samples: u64,
    /// Samples, or answers to questions, that the held-out loss is taken on.
    pub held_out: u64,
    /// Samples that stood before; they are learnt from as often as they stand.
    pub duplicates: u64,
    /// Samples longer than a row; they lost their end.
    pub truncated: u64,
    /// Samples left out, since nothing that bears loss fitted into a row.
    pub left_out: u64,
    /// Questions left out, since the training data answer them.
    pub seen_questions: u64,
    /// Rows of an epoch.
    pub rows: u64,
    /// Tokens of an epoch.
    pub tokens: u64,
    /// Of these, tokens that bear loss.
    pub loss_tokens: u64,
}

impl Material {
    /// Reads, splits, renders and packs.
    pub fn gather(base: &Base, plan: &Plan) -> Result<Self> {
        plan.check()?;
        data_fits(plan)?;
        let (samples, files) = read_all(plan)?;
        let split = split(samples, plan.held_out_share(), plan.seed);
        let (questions, seen_questions) = match &plan.questions {
            Some(source) => unseen(read_questions(source)?, &split.learnt),
            None => (Vec::new(), 0),
        };
        let dialogues = plan.questions.is_some() || plan.data.iter().any(|s| s.format == Format::Messages);
        let renderer = Renderer::open(base, dialogues)?;
        // positions restart at each document, so a row may be longer than what the base was made for, a document not
        let positions = base.config.count("max_position_embeddings")?.unwrap_or(plan.sequence);
        let longest = plan.sequence.min(positions);
        let (documents, cuts) = fit(render(&renderer, &split.learnt)?, longest);
        let watched: Vec<Sample> = split.held_out.into_iter().chain(questions.iter().map(Question::sample)).collect();
        let (held_out, _) = fit(render(&renderer, &watched)?, longest);
        let rows = Rows::pack(documents, plan.sequence, plan.seed);
        let counts = Counts {
            samples: split.learnt.len() as u64 - cuts.left_out,
            held_out: watched.len() as u64,
            duplicates: split.duplicates,
            truncated: cuts.truncated,
            left_out: cuts.left_out,
            seen_questions,
            rows: rows.len(),
            tokens: rows.tokens(),
            loss_tokens: rows.documents().iter().map(|d| d.loss_tokens() as u64).sum(),
        };
        Ok(Self { renderer, rows, held_out, questions, files, counts })
    }
}

fn read_all(plan: &Plan) -> Result<(Vec<Sample>, Vec<DataFile>)> {
    let (mut samples, mut files) = (Vec::new(), Vec::new());
    for source in &plan.data {
        let (read, digest) = data::read(source)?;
        files.push(DataFile { name: source.name.clone(), digest, samples: read.len() as u64 });
        samples.extend(read);
    }
    Ok((samples, files))
}

fn render(renderer: &Renderer, samples: &[Sample]) -> Result<Vec<Document>> {
    // the first sample alone: what is wrong with the template is then said of it, not of whichever thread was first
    let Some((first, rest)) = samples.split_first() else {
        return Ok(Vec::new());
    };
    let first = renderer.document(first)?;
    let rest = rest.par_iter().map(|s| renderer.document(s)).collect::<Result<Vec<_>>>()?;
    Ok(std::iter::once(first).chain(rest).collect())
}
