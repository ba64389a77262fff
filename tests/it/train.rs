//! Training: masks, packing, accumulation, exact resume, whatever the threads; adapters in and out.

mod ranks;
pub mod shaped;
pub mod tiny;

use crate::commands::{command, sealwright};
use proptest::prelude::*;
use sealwright::adapter::{self, TENSOR_FILE};
use sealwright::base::Base;
use sealwright::base::chat::Message;
use sealwright::error::{Code, Error};
use sealwright::model::{Batch, Keep, Model, divergence};
use sealwright::train::batch::{Rows, batch, fit};
use sealwright::train::data::{Content, Place, Sample};
use sealwright::train::template::{Document, Renderer};
use sealwright::train::{self, Event, Length, Material, Plan, lora};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LLAMA_2: &str = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}\
    {% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}";
const LLAMA_3: &str = "{% for m in messages %}{% set turn = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + \
    m['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set turn = bos_token + turn %}{% endif %}{{ turn }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
const GEMMA: &str = "{{ bos_token }}{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}\
    {{ '<start_of_turn>' + role + '\n' + m.content + '<end_of_turn>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}";

fn sample(content: Content) -> Sample {
    Sample { place: Place { file: "d.jsonl".into(), line: 3 }, content }
}

fn two_turns() -> Sample {
    let turns = [("user", "One?"), ("assistant", "Yes, one."), ("user", "Two?"), ("assistant", "No.")];
    let messages = turns.map(|(role, content)| Message { role: role.into(), content: content.into() });
    sample(Content::Messages(messages.to_vec()))
}

fn renderer(template: &str, start: &str, end: &str) -> Renderer {
    let dir = tempfile::tempdir().unwrap();
    Renderer::open(&tiny::base(dir.path(), template, start, end), true).unwrap()
}

/// The stretches of text that bear loss.
fn borne(document: &Document) -> Vec<String> {
    let runs = document.tokens.iter().zip(&document.loss).collect::<Vec<_>>();
    runs.chunk_by(|a, b| a.1 == b.1).filter(|run| *run[0].1).map(|run| tiny::text(run.iter().map(|r| *r.0))).collect()
}

#[test]
fn answers_and_their_ends_bear_loss_in_every_style() {
    for (template, start, end, first, last) in [
        (tiny::CHATML, "<s>", "<|im_end|>", "Yes, one.<|im_end|>", "No.<|im_end|>"),
        (LLAMA_2, "<s>", "</s>", " Yes, one. </s>", " No. </s>"),
        (LLAMA_3, "<s>", "<|eot_id|>", "Yes, one.<|eot_id|>", "No.<|eot_id|>"),
        (GEMMA, "<bos>", "<end_of_turn>", "Yes, one.<end_of_turn>", "No.<end_of_turn>"),
    ] {
        let renderer = renderer(template, start, end);
        let document = renderer.document(&two_turns()).unwrap();
        assert_eq!(borne(&document), [first, last]);
        assert_eq!(document.tokens.last(), Some(&tiny::token(end)), "nothing idle after the last end");
        let Content::Messages(messages) = two_turns().content else { unreachable!() };
        let prompt = renderer.prompt(&messages[..3]).unwrap();
        assert!(document.tokens.starts_with(&prompt), "training and asking read the same tokens: {end}");
    }
}

#[test]
fn a_template_that_would_teach_the_wrong_thing_is_refused() {
    let counting = "{{ messages | length }}{% for m in messages %}{{ m.content + '</s>' }}{% endfor %}";
    let thinking = "{% for m in messages %}{{ m.role + ':' + m.content + '</s>' }}{% endfor %}\
                    {% if add_generation_prompt %}assistant:think{% endif %}";
    let doubled = format!("{{{{ bos_token }}}}{LLAMA_2}");
    for (template, end, said) in [
        (tiny::CHATML, "</s>", "never learn to stop"),
        (counting, "</s>", "differently from the whole"),
        (thinking, "</s>", "differently from the whole"),
        (&doubled, "</s>", "start token twice"),
    ] {
        let error = renderer(template, "<s>", end).document(&two_turns()).unwrap_err();
        assert!(error.to_string().starts_with("d.jsonl:3: ") && error.to_string().contains(said), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn text_and_completions_end_with_the_end_token() {
    let renderer = renderer(tiny::CHATML, "<s>", "</s>");
    let text = renderer.document(&sample(Content::Text("abc".into()))).unwrap();
    assert_eq!((tiny::text(text.tokens.iter().copied()).as_str(), text.loss_tokens()), ("abc</s>", 3));
    let pair = renderer.document(&sample(Content::PromptCompletion("ab".into(), " c".into()))).unwrap();
    assert_eq!(borne(&pair), [" c</s>"]);
}

#[test]
fn long_samples_are_cut_and_counted() {
    let renderer = renderer(tiny::CHATML, "<s>", "<|im_end|>");
    let dialogue = renderer.document(&two_turns()).unwrap();
    let (length, borne_tokens) = (dialogue.tokens.len(), dialogue.loss_tokens());
    let (cut, cuts) = fit(vec![dialogue.clone()], length - 2);
    assert_eq!((cuts.truncated, cuts.left_out, cut[0].loss_tokens()), (1, 0, borne_tokens - 2));
    let (cut, cuts) = fit(vec![dialogue], 6);
    assert_eq!((cuts.truncated, cuts.left_out, cut.len()), (1, 1, 0));
    let text = renderer.document(&sample(Content::Text("x".repeat(1000)))).unwrap();
    let (pieces, cuts) = fit(vec![text], 64);
    assert_eq!(pieces.iter().map(Document::loss_tokens).sum::<usize>(), 1000, "every token is learnt once");
    assert!(pieces.iter().all(|p| p.tokens.len() <= 64) && cuts.truncated == 0);
}

fn documents(lengths: &[usize]) -> Vec<Document> {
    let document = |(line, length): (usize, &usize)| Document {
        place: Place { file: "d".into(), line: line as u64 },
        tokens: (0..*length).map(|i| ((line * 31 + i * 7) % 256) as u32).collect(),
        loss: (0..*length).map(|i| i > 0).collect(),
        running: false,
    };
    lengths.iter().enumerate().map(document).collect()
}

proptest! {
    #[test]
    fn packing_loses_and_doubles_nothing(lengths in prop::collection::vec(2..65usize, 1..200), seed: u64) {
        let rows = Rows::pack(documents(&lengths), 64, seed);
        let mut seen: Vec<u64> = Vec::new();
        for row in rows.take(0, rows.len()) {
            prop_assert!(row.iter().map(|d| d.tokens.len()).sum::<usize>() <= 64);
            seen.extend(row.iter().map(|d| d.place.line));
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..lengths.len() as u64).collect::<Vec<_>>());
        let filled = lengths.iter().sum::<usize>();
        prop_assert!(rows.len() as usize <= 2 * filled.div_ceil(64) + 1, "no two rows could be one");
    }

    #[test]
    fn every_epoch_takes_every_row_once(lengths in prop::collection::vec(2..65usize, 1..60), seed: u64, cut in 0u64..99) {
        let rows = Rows::pack(documents(&lengths), 64, seed);
        let whole = rows.take(0, 2 * rows.len());
        let cut = cut % (2 * rows.len());
        let (head, tail) = (rows.take(0, cut), rows.take(cut, 2 * rows.len()));
        prop_assert_eq!(&[head, tail].concat(), &whole, "the cursor is all there is to know");
        let names = |rows: &[Vec<&Document>]| {
            let mut names: Vec<u64> = rows.iter().flatten().map(|d| d.place.line).collect();
            names.sort_unstable();
            names
        };
        let (first, second) = whole.split_at(rows.len() as usize);
        prop_assert_eq!(names(first), names(second));
    }
}

#[test]
fn a_packed_row_gives_the_loss_and_gradient_of_its_documents() {
    let (dir, base) = tiny::place();
    let model = Model::load(&base, None).unwrap();
    let material = Material::gather(&base, &tiny::plan(dir.path(), "s")).unwrap();
    let mut lora = lora::fresh(&model, 4, 8.0, &["q_proj".into(), "down_proj".into()], 1).unwrap();
    let mut any = 0.0f32;
    lora.values.iter_mut().for_each(|v| (any, *v) = ((any + 0.37) % 1.0, *v + 0.05 * (any - 0.5)));
    let row = material.rows.take(0, 1).remove(0);
    assert!(row.len() > 1, "documents share a row");
    let mut work = model.workspace(Keep::All);
    let (mut together, mut alone) = (vec![0.0; lora.values.len()], vec![0.0; lora.values.len()]);
    let loss = model.train_step(&lora, &batch(row.iter().copied()), &mut together, &mut work);
    let sum: f64 = row.iter().map(|d| model.train_step(&lora, &batch([*d]), &mut alone, &mut work)).sum();
    assert!((loss - sum).abs() < 1e-6 * loss, "{loss} {sum}");
    let largest = together.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let worst = together.iter().zip(&alone).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst < 1e-5 * largest, "{worst} of {largest}");
}

fn train(base: &Base, plan: &Plan) -> Result<Vec<u8>, Error> {
    let trained = train::run(base, plan, &mut |_| {}, &AtomicBool::new(false))?;
    Ok(std::fs::read(trained.folder.join(TENSOR_FILE)).unwrap())
}

fn losses(plan: &Plan) -> Vec<f64> {
    let record = adapter::RunRecord::read(&plan.folder.join(adapter::FOLDER)).unwrap().unwrap();
    record.losses.iter().map(|l| l.loss).collect()
}

#[test]
fn one_step_of_four_rows_is_four_of_one() {
    let (dir, base) = tiny::place();
    let at_once = |rows: usize| {
        let plan = Plan { micro_batch: Some(rows), ..tiny::plan(dir.path(), &format!("s{rows}")) };
        train(&base, &plan).unwrap();
        losses(&plan)
    };
    let (one, four) = (at_once(1), at_once(4));
    assert!(four[11] < 0.9 * four[0], "it learns: {four:?}");
    for (a, b) in one.iter().zip(&four) {
        assert!((a - b).abs() < 1e-6 * b, "{one:?} {four:?}");
    }
}

#[test]
fn a_stopped_run_goes_on_as_if_it_never_stopped() {
    let (dir, base) = tiny::place();
    let whole = train(&base, &tiny::plan(dir.path(), "whole")).unwrap();
    for at in [1, 5, 7, 11] {
        let plan = tiny::plan(dir.path(), &format!("stopped-{at}"));
        let stop = AtomicBool::new(false);
        let mut observe = |event| match event {
            Event::Step(step) if step.step == at => stop.store(true, Ordering::Relaxed),
            _ => {}
        };
        let error = train::run(&base, &plan, &mut observe, &stop).unwrap_err();
        assert_eq!(error.code, Code::Interrupted);
        assert!(error.to_string().contains(&format!("step {at} of 12")), "{error}");
        assert!(!plan.folder.join(adapter::FOLDER).exists());
        assert_eq!(train(&base, &plan).unwrap(), whole, "stopped after step {at}");
        assert_eq!(losses(&plan), losses(&tiny::plan(dir.path(), "whole")));
        assert!(!plan.folder.join(train::checkpoint::FILE_NAME).exists());
    }
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let (dir, base) = tiny::place();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train(&base, &tiny::plan(dir.path(), &format!("t{threads}"))).unwrap())
    };
    let one = with(1);
    assert!([2, 3, 5].into_iter().all(|threads| with(threads) == one));
}

#[test]
fn what_is_made_again_is_what_was_kept() {
    let (dir, base) = tiny::place();
    let model = Model::load(&base, None).unwrap();
    let material = Material::gather(&base, &tiny::plan(dir.path(), "s")).unwrap();
    let lora = lora::fresh(&model, 4, 8.0, &["v_proj".into(), "up_proj".into()], 1).unwrap();
    let batch = batch(material.rows.take(0, 2).into_iter().flatten());
    let gradient = |keep| {
        let mut gradient = vec![0.0; lora.values.len()];
        model.train_step(&lora, &batch, &mut gradient, &mut model.workspace(keep));
        gradient
    };
    assert_eq!(gradient(Keep::All), gradient(Keep::Blocks(1)), "so the memory at hand changes no byte");
    assert_eq!(gradient(Keep::All), gradient(Keep::Inputs), "so the memory at hand changes no byte");
}

#[test]
fn a_checkpoint_of_another_plan_is_refused_by_what_differs() {
    let (dir, base) = tiny::place();
    let plan = tiny::plan(dir.path(), "s");
    let stop = AtomicBool::new(true);
    train::run(&base, &plan, &mut |_| {}, &stop).unwrap_err();
    let other = Plan { rank: 8, learning_rate: 1e-4, ..plan.clone() };
    let error = train(&base, &other).unwrap_err();
    assert!(error.to_string().ends_with("what differs: rank, learning-rate"), "{error}");
    train::forget(&other).unwrap();
    train(&base, &other).unwrap();
    assert!(train::finished(&base, &other).unwrap().is_some());
    assert!(train::finished(&base, &plan).unwrap().is_none());
}

#[test]
fn sizes_that_cannot_be_meant_are_refused() {
    let (dir, base) = tiny::place();
    let plan = tiny::plan(dir.path(), "s");
    for (wrong, said) in [
        (Plan { batch: usize::MAX, ..plan.clone() }, "train.batch"),
        (Plan { sequence: usize::MAX / 2, ..plan.clone() }, "train.sequence"),
        (Plan { sequence: 0, ..plan.clone() }, "train.sequence"),
        (Plan { rank: 1 << 40, ..plan.clone() }, "train.rank"),
        (Plan { sequence: 4, ..plan.clone() }, "within 4 tokens"),
        (Plan { targets: vec!["q_prj".into()], ..plan }, "q_prj"),
    ] {
        let error = train(&base, &wrong).unwrap_err();
        assert!(error.to_string().contains(said) && error.hint().is_some(), "{said}: {error}");
    }
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let (dir, base) = tiny::place();
    let plan = tiny::plan(dir.path(), "s");
    train::run(&base, &plan, &mut |_| {}, &AtomicBool::new(true)).unwrap_err();
    let path = plan.folder.join(train::checkpoint::FILE_NAME);
    let bytes = std::fs::read(&path).unwrap();
    for damaged in [&bytes[..bytes.len() - 1], &bytes[..7], b"{}"] {
        std::fs::write(&path, damaged).unwrap();
        let error = train(&base, &plan).unwrap_err();
        assert!(error.to_string().contains("not a whole checkpoint"), "{error}");
    }
}

#[test]
fn nothing_held_out_is_learnt() {
    let (dir, base) = tiny::place();
    let twice = tiny::dialogues().repeat(2);
    std::fs::write(dir.path().join("data.jsonl"), twice).unwrap();
    let material = Material::gather(&base, &tiny::plan(dir.path(), "s")).unwrap();
    assert_eq!((material.counts.held_out, material.counts.samples, material.counts.duplicates), (4, 72, 40));
    let learnt = material.rows.documents();
    assert!(material.held_out.iter().all(|h| learnt.iter().all(|l| l.tokens != h.tokens)));
}

#[test]
fn a_question_that_training_answers_is_not_asked() {
    let (dir, base) = tiny::place();
    let question = |user: &str| {
        format!(
            r#"{{"messages":[{{"role":"user","content":"{user}"}},{{"role":"assistant","content":"x"}}],"keywords":["e"]}}"#
        )
    };
    let path = dir.path().join("heldout.jsonl");
    std::fs::write(&path, question("Where is pump 0?") + "\n" + &question("Is pump 0 blue?")).unwrap();
    let questions = Some(train::Questions { path, matching: train::Matching::Keyword });
    let plan = Plan { questions, ..tiny::plan(dir.path(), "s") };
    let trained = train::run(&base, &plan, &mut |_| {}, &AtomicBool::new(false)).unwrap();
    let after = trained.record.after.unwrap();
    assert_eq!((trained.record.held_out_samples, after.questions), (1, 1));
    assert!(after.loss.is_some() && trained.record.before.unwrap().loss.is_some());
}

#[test]
fn a_loss_of_no_number_names_its_samples() {
    let (dir, base) = tiny::place();
    let plan = Plan { learning_rate: 1e30, weight_decay: 0.0, warmup: Some(0), ..tiny::plan(dir.path(), "s") };
    let error = train(&base, &plan).unwrap_err();
    assert_eq!(error.code, Code::Diverged);
    assert!(error.to_string().contains("data.jsonl:") && error.hint().is_some(), "{error}");
}

#[test]
fn an_adapter_goes_out_and_comes_back() {
    let (dir, base) = tiny::place();
    let plan = tiny::plan(dir.path(), "s");
    train(&base, &plan).unwrap();
    let model = Model::load(&base, None).unwrap();
    let read = adapter::read(&plan.folder.join(adapter::FOLDER)).unwrap();
    let lora = lora::from_adapter(&model, &read).unwrap();
    assert_eq!(lora::to_adapter(&lora, "tiny"), read);
    assert_eq!(read.recipe.targets.len(), 7);

    let continued = Plan { init: Some(plan.folder.join(adapter::FOLDER)), ..tiny::plan(dir.path(), "on") };
    train(&base, &continued).unwrap();
    assert!(losses(&continued)[0] < losses(&plan)[0], "it goes on from what was learnt");
    let mut foreign = read;
    foreign.modules[0].name = "model.layers.9.mlp.down_proj".into();
    let error = lora::from_adapter(&model, &foreign).unwrap_err();
    assert!(error.to_string().contains("model.layers.9.mlp.down_proj"), "{error}");
}

#[test]
fn hostile_adapter_headers_are_refused() {
    let (dir, base) = tiny::place();
    let plan = Plan { length: Length::Steps(1), ..tiny::plan(dir.path(), "s") };
    train(&base, &plan).unwrap();
    let folder = plan.folder.join(adapter::FOLDER);
    let path = folder.join(TENSOR_FILE);
    let good = std::fs::read(&path).unwrap();
    let with_header =
        |header: &str, data: &[u8]| [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat();
    let name = "base_model.model.m.lora_A.weight";
    let tensor = |offsets: &str, shape: &str| {
        with_header(&format!(r#"{{"{name}":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#), &[0; 16])
    };
    for bytes in [
        good[..good.len() - 1].to_vec(),
        [&good[..], b"x"].concat(),
        [&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
        tensor("[0,32]", "[4,2]"),
        tensor("[8,0]", "[2,2]"),
        tensor("[0,16]", "[4611686018427387904,4]"),
        tensor("[0,16]", "[2,3]"),
        with_header("{", b""),
        Vec::new(),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let error = adapter::read(&folder).unwrap_err();
        assert_eq!(error.code, Code::BadInput, "{error}");
    }
}

/// Starts a training, waits for its first checkpoint, and sends it a signal.
pub fn interrupted(folder: &Path, signal: &str) -> std::process::ExitStatus {
    let mut child = command(folder, &["train", "--json"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (checkpoint, begun) = (folder.join(".sealwright/checkpoint.safetensors"), Instant::now());
    while !checkpoint.exists() && begun.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap()
}

#[test]
fn killed_or_stopped_by_ctrl_c_a_command_goes_on_to_the_same_bytes() {
    let train = "rank = 4\nsteps = 400\nsequence = 128\nbatch = 2\ncheckpoint-every = 7";
    let adapter = |folder: &Path| std::fs::read(folder.join(".sealwright/adapter").join(TENSOR_FILE)).unwrap();
    let place = || {
        let (dir, _) = tiny::place();
        tiny::product(dir.path(), train);
        dir
    };
    let whole = place();
    let out = sealwright(whole.path(), &["train", "--json", "--allow-denied"]);
    let lines: Vec<serde_json::Value> =
        String::from_utf8(out.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 402, "{}", String::from_utf8_lossy(&out.stderr));
    for key in ["step", "loss", "tokens", "tokens-per-second", "lr", "grad-norm"] {
        assert!(lines[1].get(key).is_some_and(serde_json::Value::is_number), "{key}");
    }
    assert!(lines[0]["memory"]["planned"].as_u64().unwrap() > 0);
    assert!(lines[401]["peak-memory"].as_u64().unwrap() > 0 && lines[401]["adapter"].is_string());

    let killed = place();
    assert_eq!(interrupted(killed.path(), "-KILL").code(), None);
    let stopped = place();
    assert_eq!(interrupted(stopped.path(), "-INT").code(), Some(130));
    for dir in [&killed, &stopped] {
        assert!(!dir.path().join(".sealwright/adapter").exists());
        assert!(sealwright(dir.path(), &["train", "--allow-denied"]).status.success());
        assert_eq!(adapter(dir.path()), adapter(whole.path()));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &str| whole.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(".sealwright"), mode(".sealwright/adapter")), (0o700, 0o700));
    }
}

#[test]
fn a_denied_use_is_trained_only_when_asked_for_and_never_packed() {
    let (dir, _) = tiny::place();
    tiny::product(dir.path(), "rank = 2\nsteps = 1\nsequence = 64");
    let research_only = spdx::license_id("CC-BY-NC-4.0").unwrap().text();
    std::fs::write(dir.path().join("base/LICENSE"), research_only).unwrap();
    let code = |args: &[&str]| sealwright(dir.path(), args).status.code();
    assert_eq!(code(&["train"]), Some(1));
    assert!(!dir.path().join(".sealwright").exists());
    assert_eq!(code(&["train", "--allow-denied"]), Some(0));
    let customer = "[[customer]]\nname = \"acme\"\nuntil = \"2099-12-31\"\nrecipients = [\"";
    let recipient = crate::commands::stdout(&sealwright(dir.path(), &["keygen", "identity", "--out", "key"]));
    let file = dir.path().join("sealwright.toml");
    let text = std::fs::read_to_string(&file).unwrap() + customer + recipient.trim() + "\"]\n";
    std::fs::write(&file, text).unwrap();
    assert_eq!((code(&["pack"]), code(&["build"])), (Some(1), Some(1)));
    assert!(!dir.path().join("dist").exists());
}

#[test]
fn eval_tells_before_and_after() {
    let (dir, _) = tiny::place();
    tiny::product(dir.path(), "rank = 4\nsteps = 30\nsequence = 256\nlearning-rate = 5e-3\nvalidation = 0.1");
    let refused = sealwright(dir.path(), &["eval", "--json"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(sealwright(dir.path(), &["train", "--allow-denied"]).status.success());
    let out = sealwright(dir.path(), &["eval", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let loss = |of: &str| report[of]["loss"].as_f64().unwrap();
    assert!(loss("adapter") < 0.8 * loss("base"), "{report}");
    let curve = std::fs::read_to_string(dir.path().join(".sealwright/adapter/loss.svg")).unwrap();
    assert!(curve.contains("held out"));
}

#[test]
fn an_adapter_learnt_on_four_or_eight_bits_merges_into_the_original_and_ships() {
    for quantize in ["nf4", "int8"] {
        let (dir, _) = tiny::place();
        tiny::product(dir.path(), "rank = 4\nsteps = 30\nsequence = 256\nlearning-rate = 5e-3\nvalidation = 0.1");
        let recipient = crate::commands::stdout(&sealwright(dir.path(), &["keygen", "identity", "--out", "key"]));
        let file = dir.path().join("sealwright.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace("path = \"base\"", &format!("path = \"base\"\nquantize = \"{quantize}\""));
        let customer =
            format!("[[customer]]\nname = \"acme\"\nuntil = \"2099-12-31\"\nrecipients = [\"{}\"]\n", recipient.trim());
        std::fs::write(&file, text.replace("ship = \"adapter\"", "ship = \"merged\"") + &customer).unwrap();
        let license = spdx::license_id("Apache-2.0").unwrap().text();
        std::fs::write(dir.path().join("base/LICENSE"), license).unwrap();

        let built = sealwright(dir.path(), &["build"]);
        assert!(built.status.success(), "{quantize}: {}", crate::commands::stderr(&built));
        let eval = crate::commands::stdout(&sealwright(dir.path(), &["eval", "--json"]));
        let eval: serde_json::Value = serde_json::from_str(&eval).unwrap();
        assert!(
            eval["adapter"]["loss"].as_f64() < eval["base"]["loss"].as_f64().map(|l| 0.8 * l),
            "{quantize}: {eval}"
        );

        let merge = ["merge", "--json", "--out", "whole"];
        let proof = crate::commands::stdout(&sealwright(dir.path(), &merge));
        let proof: serde_json::Value = serde_json::from_str(&proof).unwrap();
        let divergence = &proof["divergence"];
        assert!(divergence["largest"].as_f64().unwrap() < 1e-6, "{quantize}: {divergence}");
        assert!(divergence["positions"].as_u64().unwrap() > 20, "{quantize}: {divergence}");
        let again = sealwright(dir.path(), &merge);
        assert_eq!(again.status.code(), Some(2), "{}", crate::commands::stdout(&again));

        let open = "open dist/tiny-1.0.0-acme.sealed --identity key --base base --out opened --allow-development \
                    --trust .sealwright/development.pub.pem";
        let opened = sealwright(dir.path(), &open.split_whitespace().collect::<Vec<_>>());
        assert!(opened.status.success(), "{quantize}: {}", crate::commands::stderr(&opened));
        let bytes = |path: &str| std::fs::read(dir.path().join(path)).unwrap();
        assert_eq!(bytes("opened/model.safetensors"), bytes("whole/model.safetensors"));
        assert_ne!(bytes("base/model.safetensors"), bytes("whole/model.safetensors"));
    }
}

#[test]
fn a_merge_says_what_base_and_adapter_said() {
    for name in ["untied", "tied", "phi3", "granite", "gpt2", "gpt-neox"] {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        let base = Base::open(&golden.join("base")).unwrap();
        let adapter = adapter::read(&golden.join("adapter")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("merged");
        adapter::merge(&base, &adapter, &out, &mut |_, _| ()).unwrap();
        let (whole, model) =
            (Model::load(&Base::open(&out).unwrap(), None).unwrap(), Model::load(&base, None).unwrap());
        let lora = lora::from_adapter(&model, &adapter).unwrap();
        let batch =
            Batch { tokens: (0..20).collect(), targets: vec![0; 20], loss: vec![false; 20], bounds: vec![0, 20] };
        let (apart, merged) = (model.logits(Some(&lora), &batch), whole.logits(None, &batch));
        let proof = divergence(&apart, &merged, model.shape().vocab);
        let unlike = divergence(&model.logits(None, &batch), &merged, model.shape().vocab);
        // what rounding to the checkpoint's bf16 leaves, beside what the adapter does
        assert!(proof.mean < 1e-4 && unlike.mean > 100.0 * proof.mean, "{name}: {proof:?} {unlike:?}");
    }
}

#[test]
fn a_card_that_cannot_be_used_is_refused_before_anything_is_read() {
    let (dir, _) = tiny::place();
    for device in ["cuda:4096", "cuda:0"] {
        tiny::product(dir.path(), &format!("rank = 2\nsteps = 1\nsequence = 64\ndevice = \"{device}\""));
        let out = sealwright(dir.path(), &["train", "--json", "--allow-denied"]);
        if device == "cuda:0" && out.status.success() {
            continue; // this machine has a card
        }
        assert_eq!(out.status.code(), Some(2));
        let said: serde_json::Value = serde_json::from_str(&crate::commands::stdout(&out)).unwrap();
        assert_eq!(said["error"]["code"], "no-device", "{device}: {said}");
        assert!(!dir.path().join(".sealwright/checkpoint.safetensors").exists());
    }
}

#[test]
#[cfg(feature = "cuda")]
fn a_family_that_cards_do_not_train_is_named_before_a_card_is_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("base")).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(crate::engine::folder("mixtral/base").join(file), dir.path().join("base").join(file)).unwrap();
    }
    std::fs::write(dir.path().join("data.jsonl"), tiny::dialogues()).unwrap();
    tiny::product(dir.path(), "rank = 2\nsteps = 1\ndevice = \"cuda:0\"");
    let out = sealwright(dir.path(), &["train", "--json", "--allow-denied"]);
    assert_eq!(out.status.code(), Some(2));
    let said: serde_json::Value = serde_json::from_str(&crate::commands::stdout(&out)).unwrap();
    assert_eq!(said["error"]["code"], "unsupported-base", "{said}");
    let said = said.to_string();
    assert!(said.contains("mixtral: blocks of experts") && said.contains("train.device = \\\"cpu\\\""), "{said}");
}

#[test]
fn processes_that_cannot_join_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (rank, count) in [("1", "2"), ("2", "2")] {
        let mut train = command(dir.path(), &["train", "--json"]);
        let out = train.env("OMPI_COMM_WORLD_RANK", rank).env("OMPI_COMM_WORLD_SIZE", count).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{}", crate::commands::stdout(&out));
    }
}
