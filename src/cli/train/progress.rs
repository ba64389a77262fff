//! How a training goes, while it does.

use super::super::say::Say;
#[cfg(feature = "cuda")]
use sealwright::model::CardKeep;
use sealwright::model::Keep;
use sealwright::train::{self, Event, Step};
use serde_json::json;
use std::time::Instant;

const BAR: &str = "{bar:30} {pos}/{len}  {msg}";

/// Turns events into a bar, into lines where there is no terminal, or into JSON.
pub struct Progress<'a> {
    say: &'a Say,
    bar: indicatif::ProgressBar,
    begun: Instant,
    tokens: u64,
    first_step: u64,
    /// Who answers: the base, until the first step is taken.
    who: &'static str,
}

impl<'a> Progress<'a> {
    /// Nothing has begun.
    pub fn new(say: &'a Say) -> Self {
        let bar = indicatif::ProgressBar::hidden();
        Self { say, bar, begun: Instant::now(), tokens: 0, first_step: 0, who: "the base alone" }
    }

    /// Says what happened.
    pub fn on(&mut self, event: Event) {
        match event {
            Event::Data(counts) => self.data(&counts),
            Event::Memory(forecast) => self.memory(&forecast),
            #[cfg(feature = "cuda")]
            Event::CardMemory(forecast) => self.card_memory(&forecast),
            Event::Begin { done, steps } => {
                (self.begun, self.first_step, self.who) = (Instant::now(), done, "with the adapter");
                self.bar = self.say.progress(steps, BAR);
                self.bar.set_position(done);
                if done > 0 {
                    self.note(format!("going on after step {done} of {steps}"));
                }
            }
            Event::Step(step) => self.step(&step),
            Event::HeldOut { step: 0, loss } => self.note(format!("{}: held-out loss {loss:.4}", self.who)),
            Event::HeldOut { step, loss } => self.note(format!("step {step}: held-out loss {loss:.4}")),
            Event::Asked { done, questions, matched } if done == questions => {
                self.note(format!("{}: {matched} of {questions} held-out questions answered as wanted", self.who));
            }
            Event::Asked { .. } | Event::Saved { .. } => {}
        }
    }

    /// Takes the bar away.
    pub fn end(self) {
        self.bar.finish_and_clear();
    }

    fn data(&self, counts: &train::Counts) {
        self.note(format!(
            "data: {} samples in {} rows, {} tokens an epoch of which {} bear loss; held out: {}",
            counts.samples, counts.rows, counts.tokens, counts.loss_tokens, counts.held_out
        ));
        for (count, what) in [
            (counts.duplicates, "samples stand more than once in the data"),
            (counts.truncated, "samples are longer than train.sequence and lose their end"),
            (counts.left_out, "samples are left out: nothing to learn fits into train.sequence"),
            (counts.seen_questions, "held-out questions are left out: the training data answer them"),
        ] {
            if count > 0 && !self.say.is_json() {
                self.bar.suspend(|| self.say.warning(format!("{count} {what}")));
            }
        }
    }

    fn memory(&self, forecast: &train::memory::Forecast) {
        let (needed, mebibytes) = (forecast.needed, |bytes: usize| bytes >> 20);
        let room = forecast.room.map_or("unknown".into(), |room| format!("{} MiB", room >> 20));
        let kept = match forecast.keep {
            Keep::All => "all activations kept".into(),
            Keep::Blocks(blocks) => {
                format!("activations of {blocks} of {} blocks kept, the others' made again", forecast.layers)
            }
            Keep::Inputs => "activations made again, block by block".to_owned(),
        };
        if self.say.is_json() {
            return self.say.json_line(&json!({
                "memory": {
                    "planned": forecast.total(),
                    "room": forecast.room,
                    "program": forecast.program,
                    "weights": needed.weights,
                    "adapter": needed.adapter,
                    "activations": needed.kept + needed.shared,
                    "blocks-kept": forecast.blocks_kept(),
                    "blocks": forecast.layers,
                    "micro-batch": forecast.micro_batch,
                    "compute": forecast.compute,
                },
            }));
        }
        self.note(format!(
            "memory: {} MiB at the peak ({} program and data, {} weights, {} adapter, {} activations), {room} to plan \
             with; {} rows at a time, {kept}, multiplied in {}",
            forecast.total() >> 20,
            forecast.program >> 20,
            mebibytes(needed.weights),
            mebibytes(needed.adapter),
            mebibytes(needed.kept + needed.shared),
            forecast.micro_batch,
            forecast.compute.name(),
        ));
    }

    #[cfg(feature = "cuda")]
    fn card_memory(&self, forecast: &train::CardForecast) {
        let needed = forecast.needed;
        let kept = match forecast.keep {
            CardKeep::Rows => "all activations kept but what one pass over memory makes again",
            CardKeep::Narrow => "the feed-forward's first multiply made again",
            CardKeep::Inputs => "activations made again, block by block",
        };
        if self.say.is_json() {
            return self.say.json_line(&json!({
                "card-memory": {
                    "card": forecast.card,
                    "planned": needed.total(),
                    "room": forecast.room,
                    "weights": needed.weights,
                    "adapter": needed.adapter,
                    "activations": needed.kept + needed.shared + needed.head,
                    "workspace": needed.workspace,
                    "micro-batch": forecast.micro_batch,
                },
            }));
        }
        self.note(format!(
            "memory on {}: {} MiB at the peak ({} weights, {} adapter, {} activations), {} MiB to plan with; {} rows at a \
             time, {kept}",
            forecast.card,
            needed.total() >> 20,
            needed.weights >> 20,
            needed.adapter >> 20,
            (needed.kept + needed.shared + needed.head) >> 20,
            forecast.room >> 20,
            forecast.micro_batch,
        ));
    }

    fn step(&mut self, step: &Step) {
        self.tokens += step.tokens;
        if self.say.is_json() {
            return self.say.json_line(&json!({
                "step": step.step,
                "loss": step.loss,
                "tokens": step.tokens,
                "tokens-per-second": step.tokens as f64 / step.seconds.max(1e-9),
                "lr": step.rate,
                "grad-norm": step.norm,
            }));
        }
        let elapsed = self.begun.elapsed().as_secs_f64();
        let left = elapsed / (step.step - self.first_step) as f64 * (step.steps - step.step) as f64;
        let speed = self.tokens as f64 / elapsed.max(1e-9);
        let line = format!("loss {:.4}  {speed:.0} tokens/s  {} left", step.loss, duration(left));
        self.bar.set_position(step.step);
        self.bar.set_message(line.clone());
        let tenth = (step.steps / 10).max(1);
        if self.bar.is_hidden() && (step.step.is_multiple_of(tenth) || step.step == step.steps) {
            self.say.note(format!("step {}/{}  {line}", step.step, step.steps));
        }
    }

    fn note(&self, text: String) {
        if !self.say.is_json() {
            self.bar.suspend(|| self.say.note(text));
        }
    }
}

/// For people.
pub fn duration(seconds: f64) -> String {
    match seconds.round() as u64 {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        s => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}
