//! The adapter folder as PEFT, vLLM and others load it: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Tensors are named `base_model.model.<module>.lora_A.weight` `[R, in]` and `….lora_B.weight` `[out, R]`. Written as
//! f32 in one fixed order, so that the same values give the same bytes; read as f32, f16 or bf16.

use super::recipe::{MAX_CONFIG_BYTES, Recipe};
use crate::base::floats;
use crate::data;
use crate::error::{AtPath, Error, Result};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::Path;

/// The recipe's file.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The matrices' file.
pub const TENSOR_FILE: &str = "adapter_model.safetensors";
/// An adapter's matrices may not be larger than this, since they are read whole.
pub const MAX_TENSOR_BYTES: u64 = 16 << 30;

const PREFIX: &str = "base_model.model.";

/// A LoRA adapter: every A with its B, of the rank that the recipe says.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// How it adapts.
    pub recipe: Recipe,
    /// What it adapts, sorted by name.
    pub modules: Vec<Module>,
}

/// One adapted projection.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// As the checkpoint names it, without `.weight`: `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// in
    pub inputs: usize,
    /// out
    pub outputs: usize,
    /// `[R, in]`, row by row.
    pub a: Vec<f32>,
    /// `[out, R]`, row by row.
    pub b: Vec<f32>,
}

/// Writes an adapter folder; each file gets its name only when it is whole, the matrices first.
pub fn write(folder: &Path, adapter: &Adapter) -> Result<()> {
    let tensors = adapter.to_safetensors();
    let path = folder.join(TENSOR_FILE);
    data::write_atomically(&path, |file| file.write_all(&tensors).at(&path))?;
    let path = folder.join(CONFIG_FILE);
    data::write_atomically(&path, |file| file.write_all(adapter.recipe.to_config().as_bytes()).at(&path))
}

/// Reads an adapter folder.
pub fn read(folder: &Path) -> Result<Adapter> {
    let (config, tensors) = (folder.join(CONFIG_FILE), folder.join(TENSOR_FILE));
    if folder.is_dir() && !tensors.is_file() && folder.join("adapter_model.bin").is_file() {
        return Err(Error::input(folder, "the matrices are a Python pickle (adapter_model.bin), which runs code")
            .with_hint("save the adapter as safetensors: PEFT's default since 0.7"));
    }
    let recipe = Recipe::from_config(&config, &data::read_bytes(&config, MAX_CONFIG_BYTES)?)?;
    Adapter::assemble(recipe, &tensors, &data::read_bytes(&tensors, MAX_TENSOR_BYTES)?)
}

impl Adapter {
    /// Reads the two files of an adapter folder from memory, such as an opened bundle's.
    pub fn from_bytes(config: &[u8], tensors: &[u8]) -> Result<Self> {
        let recipe = Recipe::from_config(Path::new(CONFIG_FILE), config)?;
        Self::assemble(recipe, Path::new(TENSOR_FILE), tensors)
    }

    /// The bytes of `adapter_model.safetensors`.
    ///
    /// # Panics
    /// When a matrix has not the shape that its module and the recipe say.
    pub fn to_safetensors(&self) -> Vec<u8> {
        let rank = self.recipe.rank;
        let views: Vec<(String, TensorView<'_>)> = self
            .modules
            .iter()
            .flat_map(|m| {
                let view = |half: &str, shape: Vec<usize>, values| {
                    (format!("{PREFIX}{}.{half}.weight", m.name), view_of(shape, values))
                };
                [view("lora_A", vec![rank, m.inputs], &m.a), view("lora_B", vec![m.outputs, rank], &m.b)]
            })
            .collect();
        // `format: pt` is what transformers asks for before it loads a file
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views, Some(metadata)).expect("names are unique and shapes were checked")
    }

    fn assemble(recipe: Recipe, path: &Path, bytes: &[u8]) -> Result<Self> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| Error::input(path, format!("safetensors: {e}")))?;
        let mut halves: BTreeMap<String, [Option<Matrix>; 2]> = BTreeMap::new();
        for (name, view) in tensors.iter() {
            let (module, half) = parse_name(name).ok_or_else(|| {
                Error::input(path, format!("tensor {name} is none of a plain LoRA adapter"))
                    .with_hint("expected `base_model.model.<module>.lora_A.weight` and `lora_B.weight`")
            })?;
            let matrix = Matrix::read(&view).map_err(|e| Error::input(path, format!("tensor {name}: {e}")))?;
            if halves.entry(module.to_owned()).or_default()[half].replace(matrix).is_some() {
                return Err(Error::input(path, format!("tensor {name} stands twice")));
            }
        }
        let modules = halves
            .into_iter()
            .map(|(name, halves)| Module::pair(name, halves, recipe.rank).map_err(|e| Error::input(path, e)))
            .collect::<Result<Vec<_>>>()?;
        if modules.is_empty() {
            return Err(Error::input(path, "holds no matrix"));
        }
        Ok(Self {
            recipe: Recipe { targets: Recipe::targets_of(modules.iter().map(|m| m.name.as_str())), ..recipe },
            modules,
        })
    }
}

impl Module {
    fn pair(name: String, halves: [Option<Matrix>; 2], rank: usize) -> Result<Self, String> {
        let [Some(a), Some(b)] = halves else {
            return Err(format!("module {name} has only one of lora_A and lora_B"));
        };
        if a.rows != rank || b.columns != rank {
            return Err(format!("module {name}: ranks {} and {}, but the config says {rank}", a.rows, b.columns));
        }
        Ok(Self { name, inputs: a.columns, outputs: b.rows, a: a.values, b: b.values })
    }
}

/// The module, and 0 for A or 1 for B. PEFT before 0.4 kept the adapter's name (`default`) in the tensor's.
fn parse_name(name: &str) -> Option<(&str, usize)> {
    let name = name.strip_prefix(PREFIX)?.strip_suffix(".weight")?;
    let name = name.strip_suffix(".default").unwrap_or(name);
    let half = |end: &str, half| name.strip_suffix(end).map(|module| (module, half));
    half(".lora_A", 0).or_else(|| half(".lora_B", 1)).filter(|(module, _)| !module.is_empty())
}

struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Matrix {
    fn read(view: &TensorView<'_>) -> Result<Self, String> {
        let &[rows, columns] = view.shape() else {
            return Err(format!("not a matrix: shape {:?}", view.shape()));
        };
        let values = floats(view.dtype(), view.data())
            .ok_or_else(|| format!("type {} is none of F32, F16, BF16", view.dtype()))?;
        match values.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(format!("element {at} is not a finite number")),
            None => Ok(Self { rows, columns, values }),
        }
    }
}

fn view_of(shape: Vec<usize>, values: &[f32]) -> TensorView<'_> {
    const { assert!(cfg!(target_endian = "little"), "safetensors are little-endian, and so is what is written here") };
    TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(values)).expect("a matrix has the shape its module says")
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    fn adapter() -> Adapter {
        let module = |name: &str| Module {
            name: name.into(),
            inputs: 3,
            outputs: 4,
            a: (0..6).map(|i| i as f32 / 7.0).collect(),
            b: (0..8).map(|i| -(i as f32)).collect(),
        };
        let modules = ["model.layers.0.mlp.up_proj", "model.layers.0.self_attn.q_proj"].map(module).to_vec();
        let targets = vec!["q_proj".into(), "up_proj".into()];
        Adapter {
            recipe: Recipe { base_model: "b".into(), rank: 2, alpha: 4.0, rslora: false, in_out: false, targets },
            modules,
        }
    }

    fn from(tensors: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)>) -> Result<Adapter> {
        let views = tensors.iter().map(|(n, d, s, b)| (*n, TensorView::new(*d, s.clone(), b).unwrap()));
        let bytes = safetensors::serialize(views, None).unwrap();
        Adapter::from_bytes(adapter().recipe.to_config().as_bytes(), &bytes)
    }

    #[test]
    fn a_folder_comes_back_and_its_bytes_are_fixed() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &adapter()).unwrap();
        let mut back = read(dir.path()).unwrap();
        assert_eq!(back, adapter());
        back.modules.reverse();
        assert_eq!(back.to_safetensors(), adapter().to_safetensors());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn half_precision_is_widened() {
        let a: Vec<u8> = [1.5f32; 4].iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        let b: Vec<u8> = [-2.0f32; 4].iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        let read = from(vec![
            ("base_model.model.m.q_proj.lora_A.default.weight", Dtype::BF16, vec![2, 2], a),
            ("base_model.model.m.q_proj.lora_B.weight", Dtype::F16, vec![2, 2], b),
        ])
        .unwrap();
        assert_eq!((read.modules[0].a[0], read.modules[0].b[0]), (1.5, -2.0));
        assert_eq!(read.recipe.targets, ["q_proj"], "the tensors say what is adapted");
    }

    #[test]
    fn what_is_no_plain_adapter_is_refused() {
        let (a, b) = ("base_model.model.m.lora_A.weight", "base_model.model.m.lora_B.weight");
        let zeros = |n: usize| vec![0u8; 4 * n];
        let nan = [f32::NAN; 4].iter().flat_map(|v| v.to_le_bytes()).collect();
        let matrix = |name, rows: usize, columns: usize| (name, Dtype::F32, vec![rows, columns], zeros(rows * columns));
        for (tensors, said) in [
            (vec![matrix(a, 2, 2)], "only one of"),
            (vec![matrix(a, 3, 2), matrix(b, 2, 3)], "the config says 2"),
            (vec![matrix(a, 2, 2), (b, Dtype::F32, vec![4], zeros(4))], "not a matrix"),
            (vec![matrix(a, 2, 2), (b, Dtype::F32, vec![2, 2], nan)], "not a finite number"),
            (vec![matrix(a, 2, 2), (b, Dtype::I32, vec![2, 2], zeros(4))], "none of F32"),
            (vec![matrix("base_model.model.m.lora_magnitude_vector", 1, 2)], "none of a plain LoRA"),
            (vec![matrix(a, 2, 2), matrix("base_model.model.m.lora_A.default.weight", 2, 2)], "stands twice"),
            (vec![], "holds no matrix"),
        ] {
            let error = from(tensors).unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}
