//! The engine against PyTorch and PEFT (`tests/golden`), and against itself: packed, recomputed, threaded, cached.

use safetensors::SafeTensors;
use sealwright::adapter;
use sealwright::base::Base;
use sealwright::kernels::{AdamW, Int8, Nf4};
use sealwright::model::generate::{Sampler, generate};
use sealwright::model::{Batch, Keep, Lora, Model};
use sealwright::train::{Schedule, lora::from_adapter};
use std::path::{Path, PathBuf};

/// The golden bases with a training.
const TRAINED: [&str; 2] = ["untied", "tied"];
const PREFIX: &str = "base_model.model.";

pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Every golden base: those of the Llama family and one or two of each other.
fn golden() -> Vec<String> {
    let folders = std::fs::read_dir(folder("")).unwrap().map(|entry| entry.unwrap());
    let names = folders.filter(|f| f.path().join("base").is_dir()).map(|f| f.file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn model(name: &str) -> Model {
    Model::load(&Base::open(&folder(name).join("base")).unwrap(), None).unwrap()
}

pub fn adapter_of(name: &str, model: &Model) -> Lora {
    from_adapter(model, &adapter::read(&folder(name).join("adapter")).unwrap()).unwrap()
}

fn both(name: &str) -> (Model, Lora) {
    let model = model(name);
    let lora = adapter_of(name, &model);
    (model, lora)
}

/// A file of named tensors.
pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn read(path: &Path) -> Self {
        Self(std::fs::read(path).unwrap())
    }

    pub fn view<const N: usize>(&self, name: &str) -> (Vec<usize>, Vec<[u8; N]>) {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        (tensor.shape().to_vec(), tensor.data().as_chunks::<N>().0.to_vec())
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.view(name).1.into_iter().map(f32::from_le_bytes).collect()
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        self.view(name).1.into_iter().map(i64::from_le_bytes).collect()
    }
}

/// Rows of ids as documents; what is masked is left out, and each position predicts the next one's label.
fn pack(positions: usize, ids: &[i64], mask: &[i64], labels: &[i64]) -> Batch {
    let mut batch = Batch { bounds: vec![0], ..Batch::default() };
    for row in 0..ids.len() / positions {
        let seen: Vec<usize> = (row * positions..(row + 1) * positions).filter(|i| mask[*i] != 0).collect();
        for (n, at) in seen.iter().enumerate() {
            let label = seen.get(n + 1).map_or(-100, |next| labels[*next]);
            batch.tokens.push(ids[*at] as u32);
            batch.targets.push(label.max(0) as u32);
            batch.loss.push(label >= 0);
        }
        batch.bounds.push(batch.tokens.len());
    }
    batch
}

pub fn inputs(name: &str) -> (Batch, Vec<i64>) {
    let file = Tensors::read(&folder(name).join("inputs.safetensors"));
    let positions = file.view::<8>("input_ids").0[1];
    let mask = file.integers("attention_mask");
    (pack(positions, &file.integers("input_ids"), &mask, &file.integers("labels")), mask)
}

fn loss_tokens(batch: &Batch) -> f64 {
    batch.loss.iter().filter(|l| **l).count() as f64
}

/// ‖got − truth‖ / ‖truth‖
fn relative(got: &[f32], truth: &[f32]) -> f64 {
    assert_eq!(got.len(), truth.len());
    let square = |x: f64| x * x;
    let apart: f64 = got.iter().zip(truth).map(|(x, y)| square(f64::from(*x) - f64::from(*y))).sum();
    let size: f64 = truth.iter().map(|y| square(f64::from(*y))).sum();
    (apart / size).sqrt()
}

#[track_caller]
pub fn near(of: &str, got: &[f32], truth: &[f32], tolerance: f64) {
    let apart = relative(got, truth);
    assert!(apart <= tolerance, "{of}: relative distance {apart:e}");
}

pub fn gradient(model: &Model, lora: &Lora, batch: &Batch, keep: Keep) -> (f64, Vec<f32>) {
    let mut grad = vec![0.0; lora.values.len()];
    let loss = model.train_step(lora, batch, &mut grad, &mut model.workspace(keep));
    (loss, grad)
}

#[test]
fn logits_and_losses_equal_pytorch() {
    for name in &golden() {
        let ((model, lora), (batch, mask)) = (both(name), inputs(name));
        let expected = Tensors::read(&folder(name).join("expected.safetensors"));
        for (word, lora) in [("base", None), ("adapter", Some(&lora))] {
            let vocab = model.shape().vocab;
            let truth = expected.floats(&format!("{word}_logits"));
            let seen = truth.chunks(vocab).zip(&mask).filter(|(_, m)| **m != 0).flat_map(|(row, _)| row.to_vec());
            near(name, &model.logits(lora, &batch), &seen.collect::<Vec<_>>(), 1e-5);
            let loss = model.loss(lora, &batch, &mut model.workspace(Keep::All)) / loss_tokens(&batch);
            near(name, &[loss as f32], &expected.floats(&format!("{word}_loss")), 1e-6);
        }
    }
}

#[test]
fn adapter_gradients_equal_pefts() {
    for name in &golden() {
        let ((model, lora), (batch, _)) = (both(name), inputs(name));
        let expected = Tensors::read(&folder(name).join("expected.safetensors"));
        let (_, grad) = gradient(&model, &lora, &batch, Keep::All);
        assert_eq!(lora.modules.len(), model.shape().layers * model.shape().projections, "{name}");
        for m in &lora.modules {
            for (half, range) in [("lora_A", &m.a), ("lora_B", &m.b)] {
                let truth = expected.floats(&format!("grad.{PREFIX}{}.{half}.weight", m.name));
                let ours: Vec<f32> =
                    grad[range.clone()].iter().map(|g| (f64::from(*g) / loss_tokens(&batch)) as f32).collect();
                near(&m.name, &ours, &truth, 1e-5);
            }
        }
    }
}

#[test]
fn ten_losses_equal_pefts() {
    for name in TRAINED {
        let model = model(name);
        let file = Tensors::read(&folder(name).join("train.safetensors"));
        let plan: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder(name).join("train.json")).unwrap()).unwrap();
        let number = |key: &str| plan[key].as_f64().unwrap();
        let count = |key: &str| plan[key].as_u64().unwrap();
        let schedule = Schedule::new(number("learning_rate"), Some(count("warmup_steps")), count("steps"));
        let mut lora = model.lora(4, 8.0, &targets()).unwrap();
        for m in &lora.modules {
            for (half, range) in [("lora_A", &m.a), ("lora_B", &m.b)] {
                let first = file.floats(&format!("init.{PREFIX}{}.{half}.weight", m.name));
                lora.values[range.clone()].copy_from_slice(&first);
            }
        }
        let (shape, tokens) = file.view::<8>("tokens");
        let tokens: Vec<i64> = tokens.into_iter().map(i64::from_le_bytes).collect();
        let (mut first, mut second) = (vec![0.0; lora.values.len()], vec![0.0; lora.values.len()]);
        let mut work = model.workspace(Keep::All);
        for (n, (ids, truth)) in tokens.chunks(shape[1] * shape[2]).zip(file.floats("losses")).enumerate() {
            let batch = pack(shape[2], ids, &vec![1; ids.len()], ids);
            let mut grad = vec![0.0; lora.values.len()];
            let loss = model.train_step(&lora, &batch, &mut grad, &mut work) / loss_tokens(&batch);
            assert!((loss - f64::from(truth)).abs() < 1e-4, "{name}, step {n}: {loss} is not {truth}");
            let norm = grad.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt() / loss_tokens(&batch);
            let scale = (number("max_grad_norm") / (norm + 1e-6)).min(1.0) / loss_tokens(&batch);
            let adam = AdamW {
                rate: schedule.rate(n as u64),
                beta1: plan["betas"][0].as_f64().unwrap(),
                beta2: plan["betas"][1].as_f64().unwrap(),
                eps: number("eps"),
                decay: number("weight_decay"),
            };
            adam.step(n as u64 + 1, &mut lora.values, &grad, scale as f32, &mut first, &mut second);
        }
    }
}

fn targets() -> Vec<String> {
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"].map(String::from).to_vec()
}

/// `n` tokens of documents with these ends, with loss on two thirds.
fn batch(bounds: &[usize], seed: u32) -> Batch {
    let n = bounds[bounds.len() - 1];
    let tokens: Vec<u32> = (0..n as u32).map(|i| (i * 29 + i * i * 7 + seed) % 48).collect();
    let targets = tokens.iter().map(|t| (t * 13 + 5) % 48).collect();
    Batch { tokens, targets, loss: (0..n).map(|i| i % 3 != 1).collect(), bounds: bounds.to_vec() }
}

fn part(batch: &Batch, document: usize) -> Batch {
    let range = batch.bounds[document]..batch.bounds[document + 1];
    Batch {
        tokens: batch.tokens[range.clone()].to_vec(),
        targets: batch.targets[range.clone()].to_vec(),
        loss: batch.loss[range.clone()].to_vec(),
        bounds: vec![0, range.len()],
    }
}

#[test]
fn packed_documents_equal_the_sum_of_separate_ones() {
    for name in &golden() {
        let (model, lora) = both(name);
        let packed = batch(&[0, 5, 6, 41, 58], 3);
        let (loss, grad) = gradient(&model, &lora, &packed, Keep::All);
        let (mut sum, mut work) = (0.0, model.workspace(Keep::All));
        let mut separate = vec![0.0; grad.len()];
        for n in 0..4 {
            sum += model.train_step(&lora, &part(&packed, n), &mut separate, &mut work);
        }
        assert!((loss - sum).abs() <= 1e-6 * sum);
        near(name, &grad, &separate, 1e-6);
    }
}

#[test]
fn recomputing_changes_no_bit() {
    for name in &golden() {
        let ((model, lora), batch) = (both(name), batch(&[0, 20, 50], 1));
        let kept = gradient(&model, &lora, &batch, Keep::All);
        assert_eq!(kept, gradient(&model, &lora, &batch, Keep::Inputs), "{name}");
        let loss = model.loss(Some(&lora), &batch, &mut model.workspace(Keep::All));
        assert_eq!(kept.0, loss, "{name}");
    }
}

#[test]
fn threads_and_earlier_steps_change_no_bit() {
    let ((model, lora), batch) = (both("tied"), batch(&[0, 33, 64], 2));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| gradient(&model, &lora, &batch, Keep::All))
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
    let mut work = model.workspace(Keep::All);
    let mut grad = vec![0.0; lora.values.len()];
    model.train_step(&lora, &self::batch(&[0, 64], 9), &mut grad, &mut work);
    grad.fill(0.0);
    assert_eq!(one, (model.train_step(&lora, &batch, &mut grad, &mut work), grad));
}

#[test]
fn an_adapter_on_few_projections_gets_the_same_gradients() {
    let ((model, whole), batch) = (both("untied"), batch(&[0, 30], 4));
    let mut some = model.lora(whole.rank, whole.alpha, &["k_proj".into(), "down_proj".into()]).unwrap();
    assert!(model.lora(4, 8.0, &["k_prj".into()]).unwrap_err().hint().unwrap().contains("k_proj"));
    let mut rest = whole.clone();
    for m in &mut some.modules {
        let from = whole.modules.iter().find(|w| w.name == m.name).unwrap();
        some.values[m.a.clone()].copy_from_slice(&whole.values[from.a.clone()]);
        some.values[m.b.clone()].copy_from_slice(&whole.values[from.b.clone()]);
    }
    for m in whole.modules.iter().filter(|m| !some.modules.iter().any(|s| s.name == m.name)) {
        rest.values[m.b.clone()].fill(0.0);
    }
    let (all, few) = (gradient(&model, &rest, &batch, Keep::All), gradient(&model, &some, &batch, Keep::All));
    assert!((all.0 - few.0).abs() <= 1e-6 * all.0);
    for m in &some.modules {
        let from = whole.modules.iter().find(|w| w.name == m.name).unwrap();
        near(&m.name, &few.1[m.a.clone()], &all.1[from.a.clone()], 1e-5);
        near(&m.name, &few.1[m.b.clone()], &all.1[from.b.clone()], 1e-5);
    }
}

#[test]
fn generation_with_a_cache_equals_the_whole_forward() {
    for name in &golden() {
        let (model, lora) = both(name);
        let prompt = [5, 17, 33, 8];
        let mut seen = Vec::new();
        let made = generate(&model, Some(&lora), &prompt, &mut Sampler::Greedy, 12, &[], &mut |id| {
            seen.push(id);
            true
        })
        .unwrap();
        assert_eq!((made.len(), &made), (12, &seen));
        let mut tokens = prompt.to_vec();
        for id in &made {
            let n = tokens.len();
            let batch = Batch { tokens: tokens.clone(), targets: vec![0; n], loss: vec![false; n], bounds: vec![0, n] };
            let logits = model.logits(Some(&lora), &batch);
            let last = &logits[(n - 1) * model.shape().vocab..];
            let best = (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
            assert_eq!(best as u32, *id);
            tokens.push(*id);
        }
        let stopped = generate(&model, Some(&lora), &prompt, &mut Sampler::Greedy, 12, &made[3..4], &mut |_| true);
        let first = |wanted: u32| made.iter().position(|id| *id == wanted).unwrap();
        assert_eq!(stopped.unwrap(), made[..first(made[3])]);
        let two = generate(&model, Some(&lora), &prompt, &mut Sampler::Greedy, 12, &[], &mut |id| id != made[1]);
        assert_eq!(two.unwrap(), made[..=first(made[1])]);
    }
}

#[test]
fn texts_longer_than_the_frequencies_reach_are_refused() {
    let model = model("phi3-longrope");
    assert_eq!(model.shape().longest, Some(48));
    assert!(model.accepts(&batch(&[0, 48], 0)).is_ok());
    let error = model.accepts(&batch(&[0, 3, 52], 0)).unwrap_err();
    assert!(error.to_string().contains("49 tokens"), "{error}");
    let generated = |new| generate(&model, None, &[1; 40], &mut Sampler::Greedy, new, &[], &mut |_| true);
    assert!(generated(8).is_ok() && generated(9).is_err());
}

#[test]
fn a_checkpoint_may_leave_out_the_first_part_of_its_names() {
    let (dir, whole) = (tempfile::tempdir().unwrap(), folder("gpt2").join("base"));
    std::fs::copy(whole.join("config.json"), dir.path().join("config.json")).unwrap();
    let bytes = std::fs::read(whole.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mask = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4]).unwrap();
    let short = tensors.iter().map(|(name, view)| (name.strip_prefix("transformer.").unwrap().to_owned(), view));
    // GPT-2's own checkpoints also hold the causal mask
    let short = short.chain([("h.0.attn.bias".to_owned(), mask)]);
    safetensors::serialize_to_file(short, None, &dir.path().join("model.safetensors")).unwrap();
    let short = Model::load(&Base::open(dir.path()).unwrap(), None).unwrap();
    let ((whole, lora), batch) = (both("gpt2"), batch(&[0, 9], 5));
    assert_eq!(short.logits(Some(&lora), &batch), whole.logits(Some(&lora), &batch));
}

#[test]
fn a_text_longer_than_the_learned_positions_is_refused() {
    let model = model("gpt2");
    assert_eq!(model.shape().longest, Some(64));
    assert!(model.accepts(&batch(&[0, 64, 128], 0)).is_ok());
    let error = model.accepts(&batch(&[0, 65], 0)).unwrap_err();
    assert!(error.hint().unwrap().contains("embeddings for so many positions"), "{error}");
}

#[test]
fn bad_input_is_refused_before_the_arithmetic() {
    let model = model("untied");
    let good = batch(&[0, 4], 0);
    assert!(model.accepts(&good).is_ok());
    for bad in [
        Batch { tokens: vec![1, 2, 3, 80], ..good.clone() },
        Batch { targets: vec![99; 4], ..good.clone() },
        Batch { bounds: vec![0, 3], ..good.clone() },
        Batch { bounds: vec![0, 4, 4], ..good.clone() },
        Batch { loss: vec![true], ..good.clone() },
    ] {
        assert!(model.accepts(&bad).is_err());
    }
    let (_, other) = both("tied");
    assert!(model.accepts_lora(&other).is_err());
    assert!(model.accepts_lora(&Lora { rank: 3, ..adapter_of("untied", &model) }).is_err());
    assert!(generate(&model, None, &[], &mut Sampler::Greedy, 1, &[], &mut |_| true).is_err());
}

fn probe(base: &Path, adapter: &Path, inputs: &Path, out: &Path) -> std::process::Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sealwright"));
    command.arg("probe").arg("--base").arg(base).arg("--adapter").arg(adapter);
    command.arg("--inputs").arg(inputs).arg("--out").arg(out).output().unwrap()
}

#[test]
fn probe_writes_what_pytorch_wrote() {
    let dir = tempfile::tempdir().unwrap();
    for name in &golden() {
        let (folder, out) = (folder(name), dir.path().join(name));
        let ran = probe(&folder.join("base"), &folder.join("adapter"), &folder.join("inputs.safetensors"), &out);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let (ours, expected) = (Tensors::read(&out), Tensors::read(&folder.join("expected.safetensors")));
        let names = |file: &Tensors| {
            let tensors = SafeTensors::deserialize(&file.0).unwrap();
            let mut names: Vec<String> = tensors.names().into_iter().map(String::from).collect();
            names.sort();
            names
        };
        assert_eq!(names(&ours), names(&expected));
        for tensor in names(&ours).iter().filter(|n| !n.ends_with("_logits")) {
            near(tensor, &ours.floats(tensor), &expected.floats(tensor), 1e-5);
        }
        let shape = |file: &Tensors| file.view::<4>("adapter_logits").0;
        assert_eq!(shape(&ours), shape(&expected));
    }
}

#[test]
fn probe_refuses_another_bases_adapter_and_leaves_no_file() {
    let (dir, folder) = (tempfile::tempdir().unwrap(), folder);
    let out = dir.path().join("out.safetensors");
    let inputs = folder("tied").join("inputs.safetensors");
    let ran = probe(&folder("untied").join("base"), &folder("tied").join("adapter"), &inputs, &out);
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("self_attn.k_proj"), "the module is named");
    assert!(!out.exists());
}

#[test]
fn four_and_eight_bits_are_those_of_bitsandbytes() {
    let file = Tensors::read(&folder("quantize.safetensors"));
    let (shape, values) = file.view("values");
    let values: Vec<f32> = values.into_iter().map(|b| half::bf16::from_le_bytes(b).to_f32()).collect();
    let (mut nf4, mut int8) = (vec![0.0; values.len()], vec![0.0; values.len()]);
    Nf4::quantize(&values).read(0, &mut nf4);
    let rows = Int8::quantize(&values, shape[0]);
    int8.chunks_mut(shape[1]).enumerate().for_each(|(n, row)| rows.read(n, row));
    for (name, ours) in [("nf4", nf4), ("int8", int8)] {
        for (n, (x, y)) in ours.iter().zip(file.floats(name)).enumerate() {
            assert!((x - y).abs() <= 1e-6, "{name}, number {n}: {x}, bitsandbytes {y}");
        }
    }
}
