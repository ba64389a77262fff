//! The loop: plan → data → model → first matrices → steps with accumulation → checkpoint or Ctrl-C → evaluation →
//! adapter folder, record, curve.

use super::batch::{batch, loss_tokens};
use super::checkpoint::{Counters, Running, State};
use super::device::{Device, Engine};
use super::event::{Event, Step, Trained};
use super::material::Material;
use super::optim::Optimiser;
use super::plan::{Identity, Plan};
use super::ranks::Ranks;
use super::template::Document;
use super::{Schedule, curve, eval, lora, machine, memory};
use crate::adapter::{self, HeldOut, RunRecord, StepLoss, TENSOR_FILE};
use crate::base::Base;
use crate::base::family::Family;
use crate::data;
use crate::digest::Sha256;
use crate::error::{Code, Error, Result};
use crate::model::{Batch, Keep, Lora, Model};
use jiff::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Trains an adapter. `stop` asks it to save its state and end with [`Code::Interrupted`]; run again with the same
/// plan, it goes on from there.
pub fn run(base: &Base, plan: &Plan, observe: &mut dyn FnMut(Event), stop: &AtomicBool) -> Result<Trained> {
    run_together(base, plan, &Device::Processor, &Ranks::alone(), observe, stop)
}

/// The same on a device, by several processes, which share each step's rows; all of them get what the first of them made.
pub fn run_together(
    base: &Base,
    plan: &Plan,
    device: &Device,
    ranks: &Ranks,
    observe: &mut dyn FnMut(Event),
    stop: &AtomicBool,
) -> Result<Trained> {
    let identity = plan.identity(base)?;
    let saved = State::load(&plan.folder, &identity)?;
    let material = Material::gather(base, plan)?;
    observe(Event::Data(material.counts));
    if material.rows.is_empty() {
        return Err(nothing_to_learn(plan));
    }
    let targets = targets(base, plan)?;
    let mut keep = Keep::Inputs;
    if device.is_processor() {
        let memory = memory::forecast(base, plan, &targets)?;
        keep = memory.keep;
        observe(Event::Memory(memory));
    }
    let mut model = Model::load(base, plan.quantize)?;
    model.multiply_in(plan.compute);
    let first = first_lora(&model, plan, &targets)?;
    let loaded = ranks.all_well(device.load(base, plan, &model, &first, observe))?;
    let engine = ranks.all_well(loaded.engine(&model, keep, &first))?;

    let mut run = Run::begin(plan, &identity, (device, ranks), &material, &model, engine, first, saved)?;
    ranks.all_well(if ranks.leads() { run.measure_before(observe, stop) } else { Ok(()) })?;
    observe(Event::Begin { done: run.counters.step, steps: run.steps });
    while run.counters.step < run.steps {
        let Some(step) = run.step(stop)? else {
            return Err(run.save_and_stop(observe)?);
        };
        observe(Event::Step(step));
        if run.counters.step % plan.checkpoint_every == 0 || run.counters.step == run.steps {
            ranks.all_well(if ranks.leads() { run.measure_and_save(observe) } else { Ok(()) })?;
        }
    }
    if ranks.leads() {
        ranks.all_well(run.measure_after(observe, stop).and_then(|after| run.finish(after)))
    } else {
        ranks.all_well(Ok(()))?;
        finished(base, plan)?.ok_or_else(|| Error::new(Code::Io, "the first rank wrote no adapter"))
    }
}

/// Forgets what an interrupted run left, so that the next one begins anew.
pub fn forget(plan: &Plan) -> Result<()> {
    State::remove(&plan.folder)
}

/// The record of an adapter that this very plan made, if it stands whole in the plan's folder.
pub fn finished(base: &Base, plan: &Plan) -> Result<Option<Trained>> {
    let folder = plan.folder.join(adapter::FOLDER);
    // a record that this version cannot read is of no use: the training is repeated
    let Ok(Some(record)) = RunRecord::read(&folder) else {
        return Ok(None);
    };
    let tensors = folder.join(TENSOR_FILE);
    let whole = tensors.is_file() && record.adapter == Sha256::of_file(&tensors)?;
    Ok((whole && record.plan == plan.identity(base)?.digest()).then_some(Trained { folder, record }))
}

fn targets(base: &Base, plan: &Plan) -> Result<Vec<String>> {
    match plan.targets.as_slice() {
        [all] if all == "all-linear" => {
            Ok(Family::of(&base.config)?.projections.targets().into_iter().map(String::from).collect())
        }
        named => Ok(named.to_vec()),
    }
}

fn first_lora(model: &Model, plan: &Plan, targets: &[String]) -> Result<Lora> {
    let Some(folder) = &plan.init else {
        return lora::fresh(model, plan.rank, plan.alpha, targets, plan.seed);
    };
    let adapter = adapter::read(folder)?;
    let (rank, alpha) = (adapter.recipe.rank, adapter.recipe.plain_alpha());
    if rank != plan.rank || alpha != plan.alpha {
        return Err(Error::input(folder, format!("this adapter has rank {rank} and alpha {alpha}"))
            .with_hint(format!("set train.rank = {rank} and train.alpha = {alpha} to go on from it")));
    }
    lora::from_adapter(model, &adapter)
}

fn nothing_to_learn(plan: &Plan) -> Error {
    let message = format!("no sample has anything to learn within {} tokens", plan.sequence);
    Error::new(Code::BadInput, message).with_hint("raise train.sequence, so that prompts and answers fit")
}

/// A run in progress.
struct Run<'a> {
    plan: &'a Plan,
    identity: &'a Identity,
    device: &'a Device,
    ranks: &'a Ranks,
    material: &'a Material,
    model: &'a Model,
    engine: Engine<'a>,
    schedule: Schedule,
    steps: u64,
    lora: Lora,
    optimiser: Optimiser,
    losses: Vec<StepLoss>,
    counters: Counters,
    clock: Clock,
}

impl<'a> Run<'a> {
    #[allow(clippy::too_many_arguments)] // all that a run begins from
    fn begin(
        plan: &'a Plan,
        identity: &'a Identity,
        (device, ranks): (&'a Device, &'a Ranks),
        material: &'a Material,
        model: &'a Model,
        mut engine: Engine<'a>,
        mut lora: Lora,
        saved: Option<State>,
    ) -> Result<Self> {
        let steps = material.rows.wanted(plan).div_ceil(plan.batch as u64);
        let mut optimiser = Optimiser::new(lora.values.len(), plan.weight_decay);
        let (losses, mut counters) = match saved {
            None => (Vec::new(), Counters::begin()),
            Some(saved) if saved.values.len() == lora.values.len() => {
                lora.values = saved.values;
                (optimiser.first, optimiser.second) = (saved.first, saved.second);
                engine.set(&lora, &optimiser)?;
                (saved.losses, saved.counters)
            }
            Some(_) => {
                return Err(Error::input(&plan.folder, "the checkpoint is of another adapter")
                    .with_hint("`--fresh` begins the training anew"));
            }
        };
        if counters.devices.last() != Some(&device.to_string()) {
            counters.devices.push(device.to_string());
        }
        Ok(Self {
            plan,
            identity,
            device,
            ranks,
            material,
            model,
            engine,
            schedule: Schedule::new(plan.learning_rate, plan.warmup, steps),
            steps,
            lora,
            optimiser,
            losses,
            clock: Clock::start(&counters),
            counters,
        })
    }

    /// One optimiser step; `None` when it was asked to stop, with nothing changed.
    ///
    /// The gradient is of the sum of all token losses of the step, divided once by their number: how many rows go
    /// through the network at a time changes nothing about its meaning.
    fn step(&mut self, stop: &AtomicBool) -> Result<Option<Step>> {
        if self.ranks.any(stop.load(Ordering::Relaxed))? {
            return Ok(None);
        }
        let begun = Instant::now();
        let (from, step) = (self.counters.rows, self.counters.step + 1);
        let to = (from + self.plan.batch as u64).min(self.material.rows.wanted(self.plan));
        let rows = self.material.rows.take(from, to);
        self.model.accepts(&batch(rows.iter().flatten().copied()))?;
        let Some(counts) = self.ranks.all_well(self.rows(step, &rows[self.ranks.part(rows.len())], stop))? else {
            return Ok(None);
        };
        self.engine.add_up(self.ranks, self.device)?;
        let [sum, tokens, bearing] = self.ranks.add_up_counts(counts)?;
        let (tokens, bearing) = (tokens as u64, bearing as u64);
        if !sum.is_finite() {
            return Err(self.diverged(step, rows.iter().flatten().copied()));
        }
        let (scale, norm) = self.engine.mean_and_clip(bearing, self.plan.clip)?;
        if !norm.is_finite() {
            return Err(self.diverged(step, rows.iter().flatten().copied()));
        }
        let rate = self.schedule.rate(step - 1);
        self.engine.update(step, rate, scale, &mut self.lora, &mut self.optimiser)?;

        let loss = sum / bearing as f64;
        self.losses.push(StepLoss { step, loss, held_out: None });
        (self.counters.step, self.counters.rows) = (step, to);
        self.counters.tokens += tokens;
        self.counters.loss_tokens += bearing;
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Some(Step { step, steps: self.steps, loss, tokens, loss_tokens: bearing, seconds, rate, norm }))
    }

    /// This rank's part of a step through the network: the sum of its losses, its tokens, and those that bear loss.
    fn rows(&mut self, step: u64, rows: &[Vec<&Document>], stop: &AtomicBool) -> Result<Option<[f64; 3]>> {
        self.engine.begin_step()?;
        let mut counts = [0.0; 3];
        for part in rows.chunks(self.ranks.micro_batch(self.device.micro_batch(self.plan), self.plan.batch)) {
            // where there are others, they would wait for this rank
            if self.ranks.count() == 1 && stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let batch = batch(part.iter().flatten().copied());
            let loss = self.engine.train_step(self.model, &self.lora, &batch)?;
            if !loss.is_finite() && self.ranks.count() == 1 {
                return Err(self.diverged(step, part.iter().flatten().copied()));
            }
            let of_part = [loss, batch.tokens.len() as f64, loss_tokens(&batch) as f64];
            counts.iter_mut().zip(of_part).for_each(|(sum, n)| *sum += n);
        }
        Ok(Some(counts))
    }

    /// Names the sample that a loss of no number comes from, or all those it may come from.
    fn diverged<'d>(&mut self, step: u64, documents: impl Iterator<Item = &'d Document>) -> Error {
        let documents: Vec<&Document> = documents.collect();
        let mut finite = |d: &Document| {
            // an error of the card's is not the sample's
            !self.engine.loss(self.model, Some(&self.lora), &batch([d])).is_ok_and(|loss| !loss.is_finite())
        };
        let culprit = documents.iter().copied().find(|d| !finite(d));
        let places = match culprit {
            Some(document) => document.place.to_string(),
            None => documents.iter().map(|d| d.place.to_string()).collect::<Vec<_>>().join(", "),
        };
        Error::new(Code::Diverged, format!("step {step}: the loss or its gradient is no finite number at {places}"))
            .with_hint("lower train.learning-rate, or look at that sample; the last checkpoint is kept")
    }

    fn measure_before(&mut self, observe: &mut dyn FnMut(Event), stop: &AtomicBool) -> Result<()> {
        if self.counters.before.is_none() {
            let loss = self.held_out_loss(false, observe)?;
            self.counters.before = Some(self.ask(None, loss, observe, stop)?);
        }
        Ok(())
    }

    /// The held-out loss was taken after the last step; the questions remain.
    fn measure_after(&self, observe: &mut dyn FnMut(Event), stop: &AtomicBool) -> Result<HeldOut> {
        self.ask(Some(&self.lora), self.losses.last().and_then(|l| l.held_out), observe, stop)
    }

    fn measure_loss(&mut self, observe: &mut dyn FnMut(Event)) -> Result<()> {
        let loss = self.held_out_loss(true, observe)?;
        if let Some(last) = self.losses.last_mut() {
            last.held_out = loss;
        }
        Ok(())
    }

    fn held_out_loss(&mut self, adapted: bool, observe: &mut dyn FnMut(Event)) -> Result<Option<f64>> {
        let at_once = self.device.micro_batch(self.plan) * self.plan.sequence;
        let lora = adapted.then_some(&self.lora);
        let of = &mut |batch: &Batch| self.engine.loss(self.model, lora, batch);
        let loss = eval::loss_by(of, &self.material.held_out, at_once)?;
        if let Some(loss) = loss {
            observe(Event::HeldOut { step: self.counters.step, loss });
        }
        Ok(loss)
    }

    fn ask(
        &self,
        lora: Option<&Lora>,
        loss: Option<f64>,
        observe: &mut dyn FnMut(Event),
        stop: &AtomicBool,
    ) -> Result<HeldOut> {
        let (renderer, asked) = (&self.material.renderer, &self.material.questions);
        let questions = asked.len() as u64;
        let (mut done, mut matched) = (0, 0);
        if let Some(source) = &self.plan.questions {
            let mut answered = |answer: &eval::Answer| {
                done += 1;
                matched += u64::from(answer.matched);
                observe(Event::Asked { done, questions, matched });
            };
            eval::ask(self.model, lora, renderer, asked, source.matching, stop, &mut answered)?;
        }
        Ok(HeldOut { loss, questions, matched })
    }

    fn measure_and_save(&mut self, observe: &mut dyn FnMut(Event)) -> Result<()> {
        self.measure_loss(observe)?;
        self.save(observe)
    }

    fn save(&mut self, observe: &mut dyn FnMut(Event)) -> Result<()> {
        self.clock.read(&mut self.counters);
        self.engine.fetch(&mut self.lora, &mut self.optimiser)?;
        let state = Running {
            values: &self.lora.values,
            first: &self.optimiser.first,
            second: &self.optimiser.second,
            losses: &self.losses,
            counters: &self.counters,
        };
        data::private_folder(&self.plan.folder)?;
        state.save(&self.plan.folder, self.identity)?;
        observe(Event::Saved { step: self.counters.step });
        Ok(())
    }

    fn save_and_stop(&mut self, observe: &mut dyn FnMut(Event)) -> Result<Error> {
        if self.ranks.leads() {
            self.save(observe)?;
        }
        let (done, steps) = (self.counters.step, self.steps);
        Ok(Error::new(Code::Interrupted, format!("stopped after step {done} of {steps}; the state is saved"))
            .with_hint("run the same command again to go on from there"))
    }

    /// Adapter, curve, and last the record, whose digest says that the adapter beside it is whole.
    fn finish(mut self, after: HeldOut) -> Result<Trained> {
        self.clock.read(&mut self.counters);
        self.engine.fetch(&mut self.lora, &mut self.optimiser)?;
        // what is written below is copied once more; the steps' buffers are not needed any longer
        self.engine.rest(self.model);
        let state_folder = &self.plan.folder;
        let folder = state_folder.join(adapter::FOLDER);
        data::private_folder(&folder)?;
        let adapter = lora::to_adapter(&self.lora, &self.plan.base_name);
        adapter::write(&folder, &adapter)?;
        let title = format!("Loss of an adapter for {}", self.plan.base_name);
        curve::write(&folder, &title, &self.losses, self.counters.before.and_then(|b| b.loss))?;
        let record = self.record(after, Sha256::of_file(&folder.join(TENSOR_FILE))?);
        record.write(&folder)?;
        State::remove(state_folder)?;
        Ok(Trained { folder, record })
    }

    fn record(self, after: HeldOut, adapter: Sha256) -> RunRecord {
        let (counts, counters) = (self.material.counts, self.counters);
        RunRecord {
            program: env!("CARGO_PKG_VERSION").into(),
            plan: self.identity.digest(),
            base: self.identity.base().clone(),
            adapter,
            data: self.material.files.clone(),
            seed: self.plan.seed,
            steps: counters.step,
            tokens: counters.tokens,
            loss_tokens: counters.loss_tokens,
            samples: counts.samples,
            held_out_samples: counts.held_out,
            duplicates: counts.duplicates,
            truncated: counts.truncated,
            losses: self.losses,
            before: counters.before,
            after: Some(after),
            device: match self.ranks.count() {
                1 => counters.devices.join(", then "),
                n => format!("{}, {n} ranks", counters.devices.join(", then ")),
            },
            machine: machine::features(),
            threads: rayon::current_num_threads(),
            wall_seconds: counters.wall_seconds,
            cpu_seconds: counters.cpu_seconds,
            peak_memory: machine::peak_memory(),
            started: counters.started,
            ended: Timestamp::now(),
        }
    }
}

impl Counters {
    fn begin() -> Self {
        Self {
            step: 0,
            rows: 0,
            tokens: 0,
            loss_tokens: 0,
            wall_seconds: 0.0,
            cpu_seconds: 0.0,
            started: Timestamp::now(),
            before: None,
            devices: Vec::new(),
        }
    }
}

/// Adds this session's time to the sessions' before it.
struct Clock {
    begun: Instant,
    cpu_begun: f64,
    wall_before: f64,
    cpu_before: f64,
}

impl Clock {
    fn start(counters: &Counters) -> Self {
        Self {
            begun: Instant::now(),
            cpu_begun: machine::cpu_seconds(),
            wall_before: counters.wall_seconds,
            cpu_before: counters.cpu_seconds,
        }
    }

    fn read(&self, counters: &mut Counters) {
        counters.wall_seconds = self.wall_before + self.begun.elapsed().as_secs_f64();
        counters.cpu_seconds = self.cpu_before + machine::cpu_seconds() - self.cpu_begun;
    }
}
