//! Who does the arithmetic of a run: this machine's processor, or a card.

#[cfg(all(test, feature = "cuda"))]
mod tests;

use super::optim::{self, Optimiser};
use super::plan::Plan;
use super::ranks::Ranks;
use crate::base::Base;
use crate::error::{Code, Error, Result};
use crate::model::{Batch, Lora, Model, Workspace};
#[cfg(feature = "cuda")]
use crate::{
    base::family::Family,
    kernels::cuda::{Card, CardRanks, Element, Library, Probe, Unit},
    model::{CardKeep, CardMemory, CardModel, CardStep, CardTraining, Shape},
};
use std::fmt;
use std::marker::PhantomData;

/// Where a run trains.
pub enum Device {
    /// This machine's processor, in f32.
    Processor,
    /// A card.
    #[cfg(feature = "cuda")]
    Card {
        /// N of `cuda:N`
        ordinal: usize,
        /// The card itself.
        card: Card,
        /// The type of activations and of what is multiplied; adapter, gradient and optimiser are f32.
        element: Element,
        /// The cards of the other ranks, where NCCL reaches them.
        others: Option<CardRanks>,
    },
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processor => write!(f, "cpu"),
            #[cfg(feature = "cuda")]
            Self::Card { ordinal, card, element, .. } => {
                write!(f, "cuda:{ordinal}, {}, {}", card.name(), element.name())
            }
        }
    }
}

/// What a run will hold on a card, and what there is.
#[cfg(feature = "cuda")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardForecast {
    /// The card's name.
    pub card: String,
    /// Bytes, by what they are for.
    pub needed: CardMemory,
    /// Bytes that the run may plan for.
    pub room: u64,
    /// What the forward keeps.
    pub keep: CardKeep,
    /// Rows that go through the network at a time.
    pub micro_batch: usize,
}

/// The share of a card's free memory that a run may plan for: the driver rounds allocations up.
#[cfg(feature = "cuda")]
const USABLE: f64 = 0.97;

/// Rows go through the network together until they have about this many tokens.
#[cfg(feature = "cuda")]
const TOKENS_ON_CARD: usize = 8192;

/// A device that holds a base: it makes the engine of a run.
pub(super) struct Loaded<'a> {
    #[cfg(feature = "cuda")]
    card: Option<(CardModel<'a>, CardKeep, usize)>,
    model: PhantomData<&'a Model>,
}

/// The arithmetic of one run, wherever it is done.
pub(super) enum Engine<'a> {
    Processor(Box<Processor>, PhantomData<&'a Model>),
    #[cfg(feature = "cuda")]
    Card(Box<CardTraining<'a>>),
}

/// What the processor works in.
pub(super) struct Processor {
    workspace: Workspace,
    gradient: Vec<f32>,
}

impl Device {
    /// What `auto` means on this machine: its first card, or that of this rank, where there is one that trains this base.
    /// Where there is none that does, the processor, and why where a driver says that a card could be there.
    #[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
    pub fn auto(base: &Base, ranks: &Ranks) -> (Self, Option<Error>) {
        #[cfg(feature = "cuda")]
        if Probe::machine().version(Library::Driver).is_some() {
            return match Self::card(base, ranks.local()) {
                Ok(card) => (card, None),
                Err(why) => (Self::Processor, Some(why)),
            };
        }
        (Self::Processor, None)
    }

    /// Card N of this machine, its kernels compiled.
    ///
    /// # Errors
    /// `UnsupportedBase` for a network that cards do not train, before anything else; `NoDevice` with what is missing.
    #[cfg(feature = "cuda")]
    pub fn card(base: &Base, ordinal: usize) -> Result<Self> {
        const ELEMENT: Element = Element::Bf16;
        let family = Family::of(&base.config)?;
        let shape = Shape::of(&base.config, &family)?;
        shape.fits_cards(&family.name, ELEMENT)?;
        let card = Card::open(ordinal)?;
        card.prepare(&Unit::of_step(shape.heads.dim, ELEMENT))?;
        Ok(Self::Card { ordinal, card, element: ELEMENT, others: None })
    }

    /// Card N of this machine.
    ///
    /// # Errors
    /// `NoDevice`: this program was built without what cards need.
    #[cfg(not(feature = "cuda"))]
    pub fn card(_base: &Base, ordinal: usize) -> Result<Self> {
        Err(Error::new(Code::NoDevice, format!("cuda:{ordinal}: this program was built without the feature `cuda`")))
    }

    /// The same, joined by NCCL to those of the other ranks; where it is missing on one of them, why gradients go by way of
    /// the hosts.
    ///
    /// # Errors
    /// `NoDevice`, `OutOfMemory` where NCCL is there and fails; what became of the other ranks.
    #[cfg(feature = "cuda")]
    pub fn with_ranks(self, ranks: &Ranks) -> Result<(Self, Option<Error>)> {
        let [cards] = ranks.add_up_counts([f64::from(u8::from(!self.is_processor()))])?;
        let Self::Card { ordinal, card, element, .. } = self else { return Ok((self, None)) };
        let alone = |card| Self::Card { ordinal, card, element, others: None };
        if ranks.count() == 1 {
            return Ok((alone(card), None));
        }
        if cards < ranks.count() as f64 {
            return Ok((alone(card), Some(Error::new(Code::NoDevice, "another rank trains on its processor"))));
        }
        let ready = CardRanks::ready();
        if ranks.any(ready.is_err())? {
            let why = ready.err().unwrap_or_else(|| Error::new(Code::NoDevice, "another rank lacks NCCL"));
            return Ok((alone(card), Some(why)));
        }
        let id = ranks.all_well(if ranks.leads() { CardRanks::id() } else { Ok([0; CardRanks::ID]) })?;
        let id = ranks.of_first(id)?;
        let others = ranks.all_well(CardRanks::join(&card, id, ranks.rank(), ranks.count()))?;
        Ok((Self::Card { ordinal, card, element, others: Some(others) }, None))
    }

    /// How many cards this machine has.
    ///
    /// # Errors
    /// `NoDevice` where it can use none, with what is missing.
    pub fn cards() -> Result<usize> {
        #[cfg(feature = "cuda")]
        return Card::count();
        #[cfg(not(feature = "cuda"))]
        Err(Error::new(Code::NoDevice, "this program was built without the feature `cuda`"))
    }

    /// Whether its memory is the process's own, which `memory` plans.
    pub(super) fn is_processor(&self) -> bool {
        matches!(self, Self::Processor)
    }

    /// Rows that go through the network together. On the processor it is the plan's; a card wants more of them.
    pub(super) fn micro_batch(&self, plan: &Plan) -> usize {
        match self {
            Self::Processor => plan.micro_batch(),
            #[cfg(feature = "cuda")]
            Self::Card { .. } => plan.micro_batch.unwrap_or(TOKENS_ON_CARD / plan.sequence).clamp(1, plan.batch),
        }
    }

    /// Plans the card's memory and copies the base there; nothing to do for the processor.
    ///
    /// # Errors
    /// `UnsupportedBase` for a network that cards do not train, `OutOfMemory` with what would fit, both before anything
    /// is copied.
    #[cfg_attr(not(feature = "cuda"), allow(unused_variables, clippy::unnecessary_wraps))]
    pub(super) fn load<'a>(
        &self,
        base: &Base,
        plan: &Plan,
        model: &'a Model,
        lora: &Lora,
        observe: &mut dyn FnMut(super::Event),
    ) -> Result<Loaded<'a>> {
        #[cfg(feature = "cuda")]
        if let Self::Card { card, element, .. } = self {
            let family = Family::of(&base.config)?.name;
            model.shape().fits_cards(&family, *element)?;
            let forecast = self.forecast(plan, model, lora, card, *element)?;
            let (keep, tokens) = (forecast.keep, forecast.micro_batch * plan.sequence);
            observe(super::Event::CardMemory(forecast));
            let on_card = CardModel::load(model, &family, card, *element)?;
            return Ok(Loaded { card: Some((on_card, keep, tokens)), model: PhantomData });
        }
        Ok(Loaded {
            #[cfg(feature = "cuda")]
            card: None,
            model: PhantomData,
        })
    }

    /// The fastest way to keep activations that fits, or what else would.
    #[cfg(feature = "cuda")]
    fn forecast(&self, plan: &Plan, model: &Model, lora: &Lora, card: &Card, element: Element) -> Result<CardForecast> {
        let room = (card.memory()?.0 as f64 * USABLE) as u64;
        let weights = model.bytes_on_card(element);
        let step = |rows: usize| CardStep {
            weights,
            element,
            tokens: rows * plan.sequence,
            rank: lora.rank,
            values: lora.values.len(),
        };
        let fits = |rows| model.shape().card_plan(step(rows), room as usize);
        let micro_batch = self.micro_batch(plan);
        if let Some((keep, needed)) = fits(micro_batch) {
            return Ok(CardForecast { card: card.name().to_owned(), needed, room, keep, micro_batch });
        }
        let least = model.shape().card_memory(step(micro_batch), CardKeep::Inputs).total();
        let message = format!(
            "this training needs {} MiB on {}, and {} MiB are free there",
            least.div_ceil(1 << 20),
            card.name(),
            room >> 20
        );
        let hint = match (1..micro_batch).rev().find(|rows| fits(*rows).is_some()) {
            Some(rows) => format!("train.micro-batch = {rows} would fit"),
            None if plan.quantize.is_none() => {
                "base.quantize = \"nf4\" takes a fourth of the weights' memory; a shorter train.sequence less of the rest"
                    .to_owned()
            }
            None => "a shorter train.sequence needs less; train.device = \"cpu\" uses this machine's memory".to_owned(),
        };
        Err(Error::new(Code::OutOfMemory, message).with_hint(hint))
    }
}

impl Loaded<'_> {
    /// The engine of a run that begins with these values.
    pub fn engine<'a>(&'a self, model: &Model, keep: crate::model::Keep, lora: &Lora) -> Result<Engine<'a>> {
        #[cfg(feature = "cuda")]
        if let Some((card, keep, tokens)) = &self.card {
            return Ok(Engine::Card(Box::new(card.training(lora, *tokens, *keep)?)));
        }
        let processor = Processor { workspace: model.workspace(keep), gradient: vec![0.0; lora.values.len()] };
        Ok(Engine::Processor(Box::new(processor), PhantomData))
    }
}

impl Engine<'_> {
    /// Zero gradient, before a step's first rows.
    pub fn begin_step(&mut self) -> Result<()> {
        match self {
            Self::Processor(on, _) => on.gradient.fill(0.0),
            #[cfg(feature = "cuda")]
            Self::Card(on) => on.clear_gradient()?,
        }
        Ok(())
    }

    /// Adds a batch's gradient; Σ of its token losses.
    pub fn train_step(&mut self, model: &Model, lora: &Lora, batch: &Batch) -> Result<f64> {
        match self {
            Self::Processor(on, _) => Ok(model.train_step(lora, batch, &mut on.gradient, &mut on.workspace)),
            #[cfg(feature = "cuda")]
            Self::Card(on) => on.train_step(batch),
        }
    }

    /// Σ token losses, with the adapter or without.
    pub fn loss(&mut self, model: &Model, lora: Option<&Lora>, batch: &Batch) -> Result<f64> {
        match self {
            Self::Processor(on, _) => Ok(model.loss(lora, batch, &mut on.workspace)),
            #[cfg(feature = "cuda")]
            Self::Card(on) => on.loss(lora.is_some(), batch),
        }
    }

    /// No step comes any more: what steps worked in is given back.
    pub fn rest(&mut self, model: &Model) {
        match self {
            Self::Processor(on, _) => {
                **on = Processor { workspace: model.workspace(crate::model::Keep::Inputs), gradient: Vec::new() };
            }
            #[cfg(feature = "cuda")]
            Self::Card(_) => {}
        }
    }

    /// The gradient becomes the sum over all ranks; a card's goes by way of the host where NCCL does not reach the others.
    #[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
    pub fn add_up(&mut self, ranks: &Ranks, device: &Device) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let (Self::Card(on), Device::Card { others: Some(others), .. }) = (&mut *self, device) {
            return on.add_up(others);
        }
        match self {
            Self::Processor(on, _) => ranks.add_up(&mut on.gradient)?,
            #[cfg(feature = "cuda")]
            Self::Card(on) if ranks.count() > 1 => {
                let mut gradient = vec![0.0; on.values()];
                on.gradient(&mut gradient)?;
                ranks.add_up(&mut gradient)?;
                on.set_gradient(&gradient)?;
            }
            #[cfg(feature = "cuda")]
            Self::Card(_) => {}
        }
        Ok(())
    }

    /// See [`optim::mean_and_clip`].
    pub fn mean_and_clip(&self, loss_tokens: u64, clip: f64) -> Result<(f32, f64)> {
        let norm = match self {
            Self::Processor(on, _) => optim::norm(&on.gradient),
            #[cfg(feature = "cuda")]
            Self::Card(on) => on.gradient_norm()?,
        };
        Ok(optim::mean_and_clip(norm, loss_tokens, clip))
    }

    /// One update; on a card, the host's values and means stay as they were until they are fetched.
    pub fn update(
        &mut self,
        step: u64,
        rate: f64,
        scale: f32,
        lora: &mut Lora,
        optimiser: &mut Optimiser,
    ) -> Result<()> {
        match self {
            Self::Processor(on, _) => optimiser.step(step, rate, &mut lora.values, &on.gradient, scale),
            #[cfg(feature = "cuda")]
            Self::Card(on) => on.update(&optimiser.adam(rate), step, scale)?,
        }
        Ok(())
    }

    /// Puts a saved state to work.
    #[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
    pub fn set(&mut self, lora: &Lora, optimiser: &Optimiser) -> Result<()> {
        match self {
            Self::Processor(..) => Ok(()),
            #[cfg(feature = "cuda")]
            Self::Card(on) => on.set(&lora.values, &optimiser.first, &optimiser.second),
        }
    }

    /// Brings values and means to the host.
    #[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
    pub fn fetch(&self, lora: &mut Lora, optimiser: &mut Optimiser) -> Result<()> {
        match self {
            Self::Processor(..) => Ok(()),
            #[cfg(feature = "cuda")]
            Self::Card(on) => on.get(&mut lora.values, &mut optimiser.first, &mut optimiser.second),
        }
    }
}
