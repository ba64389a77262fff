//! Whole runs on a CPU that stands in for a card, held to the processor's.

use super::*;
use crate::adapter::{self, RunRecord, TENSOR_FILE};
use crate::train::{self, Event, Length};
use std::sync::atomic::{AtomicBool, Ordering};

#[path = "../../../tests/it/train/tiny.rs"]
#[allow(dead_code, missing_docs)] // the integration tests use all of it
mod tiny;

/// The machine's card, or a CPU that stands in for one; in f32, so that it can be held to the processor.
fn at_hand() -> Option<Device> {
    Card::at_hand(&[0]).pop().map(|card| Device::Card { ordinal: 0, card, element: Element::F32, others: None })
}

fn run(base: &Base, plan: &Plan, device: &Device, stop_after: Option<u64>) -> Result<Vec<f32>> {
    let stop = AtomicBool::new(false);
    let mut planned = 0;
    let mut observe = |event| match event {
        Event::Step(step) if Some(step.step) == stop_after => stop.store(true, Ordering::Relaxed),
        Event::CardMemory(forecast) => planned = forecast.needed.total(),
        _ => {}
    };
    let trained = train::run_together(base, plan, device, &Ranks::alone(), &mut observe, &stop)?;
    assert_eq!(planned > 0, !device.is_processor());
    let adapter = adapter::read(&trained.folder)?;
    Ok(adapter.modules.iter().flat_map(|m| m.a.iter().chain(&m.b).copied().collect::<Vec<_>>()).collect())
}

fn record(plan: &Plan) -> RunRecord {
    RunRecord::read(&plan.folder.join(adapter::FOLDER)).unwrap().unwrap()
}

#[test]
fn a_run_on_a_card_follows_the_processors_and_goes_on_after_a_stop() {
    let Some(card) = at_hand() else { return };
    let (dir, base) = tiny::place();
    let plan = |state: &str| Plan {
        length: Length::Steps(3),
        checkpoint_every: 2,
        micro_batch: Some(2),
        sequence: 64,
        ..tiny::plan(dir.path(), state)
    };
    let (on_cpu, on_card, stopped) = (plan("cpu"), plan("card"), plan("stopped"));
    let wanted = run(&base, &on_cpu, &Device::Processor, None).unwrap();
    let got = run(&base, &on_card, &card, None).unwrap();
    let largest = wanted.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let worst = got.iter().zip(&wanted).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst < 1e-3 * largest, "{worst} of {largest}");
    let (cpu, card_record) = (record(&on_cpu), record(&on_card));
    assert_eq!(cpu.plan, card_record.plan);
    for (a, b) in cpu.losses.iter().zip(&card_record.losses) {
        assert!((a.loss / b.loss - 1.0).abs() < 1e-4, "{a:?} {b:?}");
    }
    assert_eq!(cpu.device, "cpu");
    assert_eq!(card_record.device, card.to_string());
    assert!(card_record.device.starts_with("cuda:0, ") && card_record.device.ends_with(", f32"));

    assert_eq!(run(&base, &stopped, &card, Some(1)).unwrap_err().code, Code::Interrupted);
    assert_eq!(run(&base, &stopped, &card, None).unwrap(), got, "stopped after step 1");
    let bytes = |plan: &Plan| std::fs::read(plan.folder.join(adapter::FOLDER).join(TENSOR_FILE)).unwrap();
    assert_eq!(bytes(&stopped), bytes(&on_card));

    // begun on the processor, gone on with on the card: the record says so
    train::forget(&stopped).unwrap();
    assert_eq!(run(&base, &stopped, &Device::Processor, Some(1)).unwrap_err().code, Code::Interrupted);
    run(&base, &stopped, &card, None).unwrap();
    assert!(record(&stopped).device.starts_with("cpu, then cuda:0, "), "{}", record(&stopped).device);
}

#[test]
fn what_does_not_fit_a_card_hears_what_would() {
    let Some(card) = at_hand() else { return };
    let (dir, base) = tiny::place();
    let plan = Plan { batch: 65536, micro_batch: Some(65536), sequence: 4096, ..tiny::plan(dir.path(), "s") };
    let error = run(&base, &plan, &card, None).unwrap_err();
    assert_eq!(error.code, Code::OutOfMemory);
    let rows = error.hint().and_then(|h| h.strip_prefix("train.micro-batch = ")?.split(' ').next()?.parse().ok());
    let fits = Plan { micro_batch: rows, ..plan };
    let Device::Card { card: of_card, element, .. } = &card else { unreachable!() };
    let model = Model::load(&base, None).unwrap();
    let lora = model.lora(4, 8.0, &["q_proj".into()]).unwrap();
    assert!(card.forecast(&fits, &model, &lora, of_card, *element).is_ok());
}
