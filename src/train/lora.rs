//! The trainable matrices between the network, where they are flat, and the adapter on disk, where they have names.

use super::draw::{Purpose, stream, uniform};
use crate::adapter::{Adapter, Module, Recipe};
use crate::error::{Code, Error, Result};
use crate::model::{Lora, Model};

/// New matrices as PEFT begins them: A even in ±1/√in (Kaiming with a = √5), B zero, so that nothing changes yet.
pub fn fresh(model: &Model, rank: usize, alpha: f32, targets: &[String], seed: u64) -> Result<Lora> {
    let mut lora = model.lora(rank, alpha, targets)?;
    let mut rng = stream(seed, Purpose::Init);
    for module in &lora.modules {
        let bound = 1.0 / (module.inputs as f32).sqrt();
        lora.values[module.a.clone()].iter_mut().for_each(|v| *v = uniform(&mut rng, bound));
    }
    Ok(lora)
}

/// An adapter's matrices, for this network. Projections that it doesn't adapt stay as the base has them.
pub fn from_adapter(model: &Model, adapter: &Adapter) -> Result<Lora> {
    let recipe = &adapter.recipe;
    let mut lora = model.lora(recipe.rank, recipe.plain_alpha(), &recipe.targets)?;
    for module in &adapter.modules {
        let place = lora.modules.iter().find(|m| m.name == module.name).ok_or_else(|| {
            Error::new(Code::BadInput, format!("the adapter adapts what this base doesn't have: {}", module.name))
                .with_hint("use the base that the adapter was trained on")
        })?;
        if (place.inputs, place.outputs) != (module.inputs, module.outputs) {
            let shapes = [module.outputs, module.inputs, place.outputs, place.inputs];
            let [out, r#in, base_out, base_in] = shapes;
            return Err(Error::new(
                Code::BadInput,
                format!("{}: the adapter is for {out} x {in}, the base has {base_out} x {base_in}", module.name),
            )
            .with_hint("use the base that the adapter was trained on"));
        }
        let (a, b) = (place.a.clone(), place.b.clone());
        lora.values[a].copy_from_slice(&module.a);
        lora.values[b].copy_from_slice(&module.b);
    }
    Ok(lora)
}

/// The matrices as an adapter of this base.
pub fn to_adapter(lora: &Lora, base_model: &str) -> Adapter {
    let mut modules: Vec<Module> = lora
        .modules
        .iter()
        .map(|m| Module {
            name: m.name.clone(),
            inputs: m.inputs,
            outputs: m.outputs,
            a: lora.values[m.a.clone()].to_vec(),
            b: lora.values[m.b.clone()].to_vec(),
        })
        .collect();
    modules.sort_by(|a, b| a.name.cmp(&b.name));
    let recipe = Recipe {
        base_model: base_model.to_owned(),
        rank: lora.rank,
        alpha: lora.alpha,
        rslora: false,
        targets: Recipe::targets_of(&modules),
    };
    Adapter { recipe, modules }
}
