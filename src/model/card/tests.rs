//! The engine for cards on a CPU that stands in for one, held to the CPU's engine: every golden base, in f32.

use super::{CardKeep, CardModel, CardStep};
use crate::base::Base;
use crate::base::family::Family;
use crate::error::Code;
use crate::kernels::cuda::{Card, Element};
use crate::kernels::{AdamW, reference::numbers};
use crate::model::{Batch, Keep, Lora, Model, Quantize};
use std::path::{Path, PathBuf};

const TOKENS: usize = 41;
const RANK: usize = 3;

/// The golden bases, by their folders' names.
fn golden() -> Vec<(String, PathBuf)> {
    // carried to a card's machine, they lie elsewhere
    let carried = std::env::var_os("SEALWRIGHT_GOLDEN").map(PathBuf::from);
    let folder = carried.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"));
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path().join("base")));
    let mut bases: Vec<_> = named.filter(|(_, base)| base.is_dir()).collect();
    bases.sort();
    bases
}

/// Three documents, one of a single token; two thirds of the positions bear loss.
fn batch(vocab: usize) -> Batch {
    let id = |n: usize, by: usize| ((n * by + 3) % vocab) as u32;
    Batch {
        tokens: (0..TOKENS).map(|n| id(n, 7)).collect(),
        targets: (0..TOKENS).map(|n| id(n, 11)).collect(),
        loss: (0..TOKENS).map(|n| n % 3 != 1).collect(),
        bounds: vec![0, 19, 20, TOKENS],
    }
}

/// Matrices of every projection, none of them zero.
fn lora(base: &Base, model: &Model) -> Lora {
    let family = Family::of(&base.config).unwrap();
    let targets: Vec<String> = family.projections.targets().into_iter().map(String::from).collect();
    let mut lora = model.lora(RANK, 4.0, &targets).unwrap();
    let values = numbers(lora.values.len(), 5);
    lora.values.iter_mut().zip(values).for_each(|(value, x)| *value = 0.3 * x);
    lora
}

#[track_caller]
fn near(got: &[f32], wanted: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    let size = wanted.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    for (i, (x, y)) in got.iter().zip(wanted).enumerate() {
        assert!((x - y).abs() <= tolerance * size, "{what}: {x} is not {y} at {i}, largest {size}");
    }
}

/// Losses, logits and gradients of a base on a card are the CPU's, as near as the type holds them.
fn held_to_the_cpu(card: &Card, name: &str, base: &Base, quantize: Option<Quantize>, element: Element) {
    let (of_loss, of_numbers) = if element == Element::F32 { (1e-4, 1e-4) } else { (2e-2, 0.15) };
    let model = Model::load(base, quantize).unwrap();
    if model.shape.routing.is_some() {
        let error = CardModel::load(&model, name, card, element).err().unwrap();
        assert!(error.code == Code::UnsupportedBase && error.to_string().contains(name), "{error}");
        return;
    }
    let (lora, batch) = (lora(base, &model), batch(model.shape.vocab));
    let mut work = model.workspace(Keep::All);
    let mut wanted = vec![0.0; lora.values.len()];
    let loss = model.train_step(&lora, &batch, &mut wanted, &mut work);
    let on_card = CardModel::load(&model, name, card, element).unwrap();
    for keep in CardKeep::ALL {
        let what = format!("{name} {keep:?} {quantize:?} {element:?}");
        // room for more than the batch has
        let mut training = on_card.training(&lora, TOKENS + 6, keep).unwrap();
        let got = training.train_step(&batch).unwrap();
        assert!((got / loss - 1.0).abs() < of_loss, "{what}: loss {got}, {loss} on the CPU");
        let mut grad = vec![0.0; wanted.len()];
        training.gradient(&mut grad).unwrap();
        near(&grad, &wanted, of_numbers, &what);
        if keep == CardKeep::Rows {
            let base_alone = training.loss(false, &batch).unwrap();
            let of_cpu = model.loss(None, &batch, &mut work);
            assert!((base_alone / of_cpu - 1.0).abs() < of_loss, "{what}: {base_alone}, {of_cpu} on the CPU");
            if model.shape.logit_cap.is_none() {
                let logits = training.logits(true, &batch).unwrap();
                near(&logits, &model.logits(Some(&lora), &batch), of_numbers, &what);
            }
        }
    }
}

#[test]
fn every_golden_base_does_what_it_does_on_the_cpu() {
    for card in Card::at_hand(&[0]) {
        for (name, base) in golden() {
            held_to_the_cpu(&card, &name, &Base::open(&base).unwrap(), None, Element::F32);
        }
    }
}

#[test]
fn what_is_trained_in_bf16_is_as_near_as_that_holds() {
    for card in Card::at_hand(&[0]) {
        for (name, base) in golden() {
            if ["cohere", "gemma2", "gpt-neox", "olmo2", "qwen3", "tied"].contains(&name.as_str()) {
                held_to_the_cpu(&card, &name, &Base::open(&base).unwrap(), None, Element::Bf16);
            }
        }
    }
}

#[test]
fn what_is_planned_is_what_is_asked_for_and_a_step_asks_for_nothing() {
    let Some(card) = Card::emulated(0) else { return };
    let free = || card.memory().unwrap().0 as usize;
    for (quantize, element) in [
        (None, Element::F32),
        (None, Element::Bf16),
        (Some(Quantize::Nf4), Element::Bf16),
        (Some(Quantize::Int8), Element::F32),
    ] {
        let (name, base) = golden().into_iter().find(|(name, _)| name == "untied").unwrap();
        let base = Base::open(&base).unwrap();
        let model = Model::load(&base, quantize).unwrap();
        let (lora, batch) = (lora(&base, &model), batch(model.shape.vocab));
        let begun = free();
        let on_card = CardModel::load(&model, &name, &card, element).unwrap();
        let weights = model.bytes_on_card(element);
        // where nothing is kept packed, there is a buffer of no bytes, which takes one
        assert!((begun - free()).abs_diff(weights) <= 1, "{weights} planned, {} taken", begun - free());
        let step = CardStep { weights, element, tokens: TOKENS, rank: RANK, values: lora.values.len() };
        for keep in CardKeep::ALL {
            let begun = free();
            let mut training = on_card.training(&lora, TOKENS, keep).unwrap();
            let planned = model.shape.card_memory(step, keep);
            assert_eq!(begun - free(), planned.total() - planned.weights - planned.workspace);
            let asked = card.allocations();
            training.train_step(&batch).unwrap();
            training.gradient_norm().unwrap();
            let adam = AdamW { rate: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 0.1 };
            training.update(&adam, 1, 0.5).unwrap();
            assert_eq!(card.allocations(), asked, "{keep:?}");
        }
    }
}

#[test]
fn packed_bases_do_too() {
    let (name, base) = golden().into_iter().find(|(name, _)| name == "tied").unwrap();
    for card in Card::at_hand(&[7]) {
        for quantize in [Quantize::Nf4, Quantize::Int8] {
            held_to_the_cpu(&card, &name, &Base::open(&base).unwrap(), Some(quantize), Element::F32);
        }
    }
}

#[test]
fn steps_follow_the_cpus() {
    Card::at_hand(&[1]).iter().for_each(steps_follow);
}

fn steps_follow(card: &Card) {
    let (name, base) = golden().into_iter().find(|(name, _)| name == "untied").unwrap();
    let base = Base::open(&base).unwrap();
    let model = Model::load(&base, None).unwrap();
    let (mut lora, batch) = (lora(&base, &model), batch(model.shape.vocab));
    let on_card = CardModel::load(&model, &name, card, Element::F32).unwrap();
    let mut training = on_card.training(&lora, TOKENS, CardKeep::Narrow).unwrap();
    let adam = AdamW { rate: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 0.1 };
    let n = lora.values.len();
    let (mut first, mut second, mut work) = (vec![0.0; n], vec![0.0; n], model.workspace(Keep::All));
    for step in 1..=3 {
        let mut grad = vec![0.0; n];
        training.clear_gradient().unwrap();
        // two micro-batches of one step
        for _ in 0..2 {
            let loss = model.train_step(&lora, &batch, &mut grad, &mut work);
            let got = training.train_step(&batch).unwrap();
            assert!((got / loss - 1.0).abs() < 1e-4, "step {step}: loss {got}, {loss} on the CPU");
        }
        let norm = grad.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!((training.gradient_norm().unwrap() / norm - 1.0).abs() < 1e-4);
        adam.step(step, &mut lora.values, &grad, 0.5, &mut first, &mut second);
        training.update(&adam, step, 0.5).unwrap();
    }
    let [mut values, mut one, mut two] = [(); 3].map(|()| vec![0.0; n]);
    training.get(&mut values, &mut one, &mut two).unwrap();
    near(&values, &lora.values, 1e-3, "values");
    near(&one, &first, 1e-3, "first mean");
    near(&two, &second, 1e-3, "second mean");
    // a state that was read and put back is the same
    training.set(&values, &one, &two).unwrap();
    let mut again = vec![0.0; n];
    training.get(&mut again, &mut one, &mut two).unwrap();
    assert_eq!(values, again);
}

#[test]
fn a_batch_without_room_is_refused() {
    let Some(card) = Card::at_hand(&[0]).pop() else { return };
    let (name, base) = golden().into_iter().find(|(name, _)| name == "tied").unwrap();
    let base = Base::open(&base).unwrap();
    let model = Model::load(&base, None).unwrap();
    let on_card = CardModel::load(&model, &name, &card, Element::F32).unwrap();
    let mut training = on_card.training(&lora(&base, &model), TOKENS - 1, CardKeep::Rows).unwrap();
    assert_eq!(training.loss(true, &batch(model.shape.vocab)).unwrap_err().code, Code::BadInput);
}
