//! Where the trainable matrices lie, how they begin, and which linear layer each belongs to.

use super::linear::{LayerPlaces, Place};
use super::weights::Layer;
use super::{Lora, LoraModule, Model};
use crate::base::family::Matrices;
use crate::error::{Code, Error, Result};
use std::collections::BTreeMap;
use std::ops::Range;

impl Model {
    /// Room for matrices of `rank` on the projections that `targets` names (`q_proj`, …), all zero.
    ///
    /// # Errors
    /// `BadInput` for a target that the network does not have, with the nearest.
    pub fn lora(&self, rank: usize, alpha: f32, targets: &[String]) -> Result<Lora> {
        let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
        let linears = || self.weights.layers.iter().flat_map(Layer::linears).flatten();
        let parts = || linears().flat_map(|l| l.parts.iter().map(move |p| (l, p)));
        if let Some(target) = targets.iter().find(|t| !parts().any(|(_, p)| last(&p.name) == **t)) {
            let known: Vec<String> = parts().map(|(_, p)| last(&p.name)).collect();
            let error = Error::new(Code::BadInput, format!("the base has no projection of this name: {target}"));
            return Err(match crate::data::nearest(target, known.iter().map(String::as_str)) {
                Some(near) => error.with_hint(format!("the nearest name is {near}")),
                None => error,
            });
        }
        let (mut modules, mut end) = (Vec::new(), 0);
        for (linear, part) in parts().filter(|(_, p)| targets.contains(&last(&p.name))) {
            let (inputs, outputs) = (linear.inputs, part.outputs());
            let a = end..end + rank * inputs;
            let b = a.end..a.end + outputs * rank;
            end = b.end;
            modules.push(LoraModule { name: part.name.clone(), inputs, outputs, a, b });
        }
        Ok(Lora { rank, alpha, in_out: self.shape.matrices == Matrices::InOut, modules, values: vec![0.0; end] })
    }

    /// Whether every module of an adapter is one of this network, of its shape.
    ///
    /// # Errors
    /// `BadInput` with the module; the other methods panic on such an adapter.
    pub fn accepts_lora(&self, lora: &Lora) -> Result<()> {
        let mut known = BTreeMap::new();
        for linear in self.weights.layers.iter().flat_map(Layer::linears).flatten() {
            known.extend(linear.parts.iter().map(|p| (p.name.as_str(), (linear.inputs, p.outputs()))));
        }
        for module in &lora.modules {
            let shape = (module.inputs, module.outputs);
            let wrong = |what: String| Error::new(Code::BadInput, format!("the adapter's {}: {what}", module.name));
            match known.remove(module.name.as_str()) {
                None => return Err(wrong("not a projection of this base, or named twice".into())),
                Some(wanted) if wanted != shape => {
                    return Err(wrong(format!("{shape:?} (in, out), the base has {wanted:?}")));
                }
                Some(_) => {}
            }
            let sized = |r: &Range<usize>, n: usize| r.len() == n * lora.rank && r.end <= lora.values.len();
            if lora.rank == 0 || !sized(&module.a, module.inputs) || !sized(&module.b, module.outputs) {
                return Err(wrong(format!("matrices that are not of rank {}", lora.rank)));
            }
        }
        Ok(())
    }

    /// The adapted projections of every block.
    pub(super) fn places(&self, lora: &Lora) -> Vec<LayerPlaces> {
        let by_name: BTreeMap<&str, &LoraModule> = lora.modules.iter().map(|m| (m.name.as_str(), m)).collect();
        let places: Vec<LayerPlaces> = self
            .weights
            .layers
            .iter()
            .map(|layer| {
                layer.linears().map(|linear| {
                    let place = |part: &super::linear::Part| {
                        let module = by_name.get(part.name.as_str())?;
                        Some(Place::new(part, module.a.clone(), module.b.clone(), lora.rank))
                    };
                    linear.iter().flat_map(|linear| &linear.parts).filter_map(place).collect()
                })
            })
            .collect();
        let found: usize = places.iter().flatten().map(Vec::len).sum();
        assert_eq!(found, lora.modules.len(), "an adapter that `accepts_lora` refuses");
        places
    }
}

impl Lora {
    /// The beginning of a training: A uniform in ±1/√in (Kaiming with a = √5, as PEFT has it), B zero.
    ///
    /// `uniform` gives numbers in [0, 1); they are used module by module, A row by row.
    pub fn begin(&mut self, uniform: &mut dyn FnMut() -> f32) {
        for module in &self.modules {
            let bound = 1.0 / (module.inputs as f32).sqrt();
            self.values[module.a.clone()].fill_with(|| bound * (2.0 * uniform() - 1.0));
            self.values[module.b.clone()].fill(0.0);
        }
    }
}
