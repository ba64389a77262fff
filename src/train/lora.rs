//! The trainable matrices between the network, where they are flat, and the adapter on disk, where they have names.

use super::draw::{Purpose, stream, unit};
use crate::adapter::{Adapter, Module, Recipe};
use crate::error::Result;
use crate::model::{Lora, LoraModule, Model};

/// New matrices, as PEFT begins them: they change nothing yet.
pub fn fresh(model: &Model, rank: usize, alpha: f32, targets: &[String], seed: u64) -> Result<Lora> {
    let mut lora = model.lora(rank, alpha, targets)?;
    let mut rng = stream(seed, Purpose::Init);
    lora.begin(&mut || unit(&mut rng));
    Ok(lora)
}

/// An adapter's matrices, for this network.
pub fn from_adapter(model: &Model, adapter: &Adapter) -> Result<Lora> {
    let recipe = &adapter.recipe;
    let (mut modules, mut values) = (Vec::new(), Vec::new());
    let mut place = |matrix: &[f32]| {
        let start = values.len();
        values.extend_from_slice(matrix);
        start..values.len()
    };
    for module in &adapter.modules {
        let (a, b) = (place(&module.a), place(&module.b));
        modules.push(LoraModule { name: module.name.clone(), inputs: module.inputs, outputs: module.outputs, a, b });
    }
    let lora = Lora { rank: recipe.rank, alpha: recipe.plain_alpha(), in_out: recipe.in_out, modules, values };
    model.accepts_lora(&lora).map_err(|e| e.with_hint("use the base that the adapter was trained on"))?;
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
        in_out: lora.in_out,
        targets: Recipe::targets_of(modules.iter().map(|m| m.name.as_str())),
    };
    Adapter { recipe, modules }
}
