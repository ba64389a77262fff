//! The vocabulary's words for what a record says, as its file has them.

use crate::license::facts::record::Record;
use serde::Serialize;

/// The value of a fact, in the vocabulary's words.
pub(in crate::license) fn value(record: &Record, fact: &str) -> Option<String> {
    Some(match fact {
        "commercial-use" => words(&record.commercial_use),
        "derivative-distribution" => words(&[record.derivative_distribution]),
        "derivative-own-terms" => words(&[record.derivative_own_terms]),
        "adapter-status" => words(&record.adapter_status),
        "hosting-is-distribution" => words(&[record.hosting_is_distribution]),
        "output-training" => words(&record.output_training),
        "use-flow-down" => words(&[record.use_flow_down]),
        "share-alike" => words(&[record.share_alike]),
        "patent-grant" => words(&[record.patent_grant]),
        "litigation-ends" => words(&[record.litigation_ends]),
        "revocable" => words(&[record.revocable]),
        "licensor-may-change-terms" => words(&[record.licensor_may_change_terms]),
        "remote-restriction" => words(&[record.remote_restriction]),
        "trademark" => words(&[record.trademark]),
        "field-of-use" if record.field_of_use.is_empty() => "none".to_owned(),
        "field-of-use" => record.field_of_use.join(", "),
        "governing-law" => record.governing_law.clone()?,
        _ => return None,
    })
}

/// Words of the vocabulary, as they stand in a record.
pub(in crate::license) fn words<T: Serialize>(values: &[T]) -> String {
    let word = |v: &T| serde_json::to_value(v).ok().and_then(|v| v.as_str().map(String::from)).unwrap_or_default();
    values.iter().map(word).collect::<Vec<_>>().join(", ")
}
