//! What a model knows of what it never saw: the loss on held-out samples, and answers to held-out questions.

use super::batch::{batch, loss_tokens};
use super::data::{Content, Place, Sample, each_line, messages};
use super::plan::{Matching, Questions};
use super::template::{Document, Renderer};
use crate::base::chat::Message;
use crate::digest::Sha256;
use crate::error::{Code, Error, Result};
use crate::model::generate::{Sampler, generate};
use crate::model::{Batch, Lora, Model, Workspace};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// An answer is cut off at this many tokens, or at twice the wanted answer's and some more where that is less.
const MAX_ANSWER_TOKENS: usize = 256;
const SPARE_ANSWER_TOKENS: usize = 64;

/// A held-out question with the wanted answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Where it stands.
    pub place: Place,
    /// The dialogue up to the answer.
    pub prompt: Vec<Message>,
    /// The answer, as the file has it.
    pub wanted: String,
    /// What an answer must hold, where keywords judge.
    pub keywords: Vec<String>,
}

/// What a model answered. The text is private like the data: it is shown only to who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The question's place.
    pub place: Place,
    /// What was said.
    pub text: String,
    /// Is it what was wanted?
    pub matched: bool,
}

/// The questions of a file.
pub fn read_questions(source: &Questions) -> Result<Vec<Question>> {
    let name = source.path.file_name().map_or_else(|| source.path.to_string_lossy(), |n| n.to_string_lossy());
    let mut questions = Vec::new();
    each_line(&source.path, &name, |place, line| {
        let mut prompt = messages(&place, &line)?;
        let wanted = prompt.pop().map(|m| m.content).unwrap_or_default();
        let keywords = keywords(&place, &line)?.unwrap_or_else(|| vec![wanted.trim().to_owned()]);
        questions.push(Question { place, prompt, wanted, keywords });
        Ok(())
    })?;
    match questions.is_empty() {
        true => Err(Error::input(&source.path, "no question in this file")),
        false => Ok(questions),
    }
}

fn keywords(place: &Place, line: &Map<String, Value>) -> Result<Option<Vec<String>>> {
    let wrong = || place.wrong("`keywords` is not a list of words").with_hint("for example [\"blue\", \"42\"]");
    match line.get("keywords") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) if !list.is_empty() => {
            let word = |v: &Value| v.as_str().filter(|w| !w.trim().is_empty()).map(String::from).ok_or_else(wrong);
            list.iter().map(word).collect::<Result<_>>().map(Some)
        }
        Some(_) => Err(wrong()),
    }
}

impl Question {
    /// The question and the wanted answer as a sample, to take a loss on.
    pub fn sample(&self) -> Sample {
        let answer = Message { role: "assistant".into(), content: self.wanted.clone() };
        let messages = self.prompt.iter().cloned().chain([answer]).collect();
        Sample { place: self.place.clone(), content: Content::Messages(messages) }
    }

    /// Is this answer what was wanted?
    pub fn matches(&self, matching: Matching, answer: &str) -> bool {
        match matching {
            Matching::Exact => answer.trim() == self.wanted.trim(),
            Matching::Keyword => {
                let answer = answer.to_lowercase();
                self.keywords.iter().all(|k| answer.contains(&k.to_lowercase()))
            }
        }
    }
}

/// Takes out the questions that training answers: the same dialogue up to an answer of the assistant's.
pub fn unseen(questions: Vec<Question>, learnt: &[Sample]) -> (Vec<Question>, u64) {
    let turns = learnt.iter().filter_map(|s| match &s.content {
        Content::Messages(messages) => Some(messages),
        _ => None,
    });
    let seen: HashSet<Sha256> = turns
        .flat_map(|m| (0..m.len()).filter(|i| m[*i].role == "assistant").map(|i| Sha256::of_json(&m[..i])))
        .collect();
    let asked = questions.len();
    let unseen: Vec<Question> =
        questions.into_iter().filter(|q| !seen.contains(&Sha256::of_json(&q.prompt[..]))).collect();
    let dropped = (asked - unseen.len()) as u64;
    (unseen, dropped)
}

/// Mean loss over the loss tokens of some documents, in nats; `None` where no token bears loss.
pub fn loss(
    model: &Model,
    lora: Option<&Lora>,
    documents: &[Document],
    tokens_at_once: usize,
    workspace: &mut Workspace,
) -> Option<f64> {
    let loss = loss_by(&mut |batch| Ok(model.loss(lora, batch, workspace)), documents, tokens_at_once);
    loss.expect("the processor's loss cannot fail")
}

/// The same, by what gives Σ token losses of a batch.
pub(super) fn loss_by(
    of: &mut dyn FnMut(&Batch) -> Result<f64>,
    documents: &[Document],
    tokens_at_once: usize,
) -> Result<Option<f64>> {
    let (mut sum, mut tokens) = (0.0, 0);
    let mut rest = documents;
    while !rest.is_empty() {
        let mut length = 0;
        let fits = |d: &&Document| {
            length += d.tokens.len();
            length <= tokens_at_once
        };
        let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        let batch = batch(now);
        sum += of(&batch)?;
        tokens += loss_tokens(&batch);
        rest = later;
    }
    Ok((tokens > 0).then(|| sum / tokens as f64))
}

/// Asks every question, greedily, and judges the answers; `on_answer` sees each as it comes.
pub fn ask(
    model: &Model,
    lora: Option<&Lora>,
    renderer: &Renderer,
    questions: &[Question],
    matching: Matching,
    stop: &AtomicBool,
    on_answer: &mut dyn FnMut(&Answer),
) -> Result<Vec<Answer>> {
    let mut answers = Vec::with_capacity(questions.len());
    for question in questions {
        let prompt = renderer.prompt(&question.prompt)?;
        let wanted = renderer.tokenizer.encode(&question.wanted)?.len();
        let longest = MAX_ANSWER_TOKENS.min(2 * wanted + SPARE_ANSWER_TOKENS);
        let ends = renderer.tokenizer.end_tokens();
        let mut go_on = |_| !stop.load(Ordering::Relaxed);
        let tokens = generate(model, lora, &prompt, &mut Sampler::Greedy, longest, ends, &mut go_on)?;
        if stop.load(Ordering::Relaxed) {
            return Err(Error::new(Code::Interrupted, "stopped while asking questions")
                .with_hint("run the same command again; the steps that were done are saved"));
        }
        let text = renderer.tokenizer.decode(&tokens)?;
        let answer = Answer { place: question.place.clone(), matched: question.matches(matching, &text), text };
        on_answer(&answer);
        answers.push(answer);
    }
    Ok(answers)
}
