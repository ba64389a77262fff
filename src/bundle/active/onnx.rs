//! ONNX models: operators of a domain that is neither the standard's nor ONNX Runtime's own, nor defined in the model.
//! Field numbers are those of `onnx.proto` (ONNX 1.19).

use super::protobuf::{Budget, MAX_DEPTH, Value, fields, text};
use super::source::{Cursor, Stop, Window};
use std::collections::BTreeSet;
use std::ops::Range;

/// Domains whose operators every runtime, or ONNX Runtime itself, brings.
const DOMAINS: [&str; 8] = [
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "ai.onnx.preview.training",
    "ai.onnx.training",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
];
/// Operators of ONNX Runtime that call a Python function.
const CALLS: [&str; 2] = ["PythonOp", "PythonOpGrad"];
/// Kinds of operators that a model may use before it is not judged any more.
const MAX_OPERATORS: usize = 1 << 14;
/// Bytes of a name that are looked at.
const MAX_NAME: usize = 256;

/// An operator's domain and name.
type Operator = (String, String);

#[derive(Default)]
struct Model {
    has_version: bool,
    has_graph: bool,
    uses: BTreeSet<Operator>,
    defines: BTreeSet<Operator>,
}

/// The first operator that is another's, where it is an ONNX model.
pub fn look(window: &mut Window<'_>) -> Result<Option<String>, Stop> {
    let mut model = Model::default();
    let mut cursor = Cursor::new(window);
    let all = 0..cursor.length();
    fields(&mut cursor, all, &mut Budget::default(), &mut |cursor, budget, number, value| {
        match (number, value) {
            (1, Value::Number) => model.has_version = true,
            (7, Value::Bytes(range)) => {
                model.has_graph = true;
                model.graph(cursor, range, budget, 0)?;
            }
            (20, Value::Bytes(range)) => model.training(cursor, range, budget)?,
            (25, Value::Bytes(range)) => model.function(cursor, range, budget)?,
            _ => {}
        }
        Ok(())
    })?;
    if !model.has_version || !model.has_graph {
        return Err(Stop::Not);
    }
    let is_known = |(domain, name): &&Operator| {
        let built_in = DOMAINS.contains(&domain.as_str()) && !CALLS.contains(&name.as_str());
        built_in || model.defines.contains(&(domain.clone(), name.clone()))
    };
    let other = model.uses.iter().find(|operator| !is_known(operator));
    Ok(other.map(|(domain, name)| format!("uses the ONNX operator {name} of the domain {domain:?}")))
}

impl Model {
    /// GraphProto: `node` is 1.
    fn graph(
        &mut self,
        cursor: &mut Cursor<'_, '_>,
        range: Range<u64>,
        budget: &mut Budget,
        depth: u32,
    ) -> Result<(), Stop> {
        fields(cursor, range, budget, &mut |cursor, budget, number, value| match (number, value) {
            (1, Value::Bytes(range)) => self.node(cursor, range, budget, depth + 1),
            _ => Ok(()),
        })
    }

    /// NodeProto: `op_type` is 4, `attribute` 5, `domain` 7; an attribute's graphs are 6 and 11.
    fn node(
        &mut self,
        cursor: &mut Cursor<'_, '_>,
        range: Range<u64>,
        budget: &mut Budget,
        depth: u32,
    ) -> Result<(), Stop> {
        if depth > MAX_DEPTH || self.uses.len() > MAX_OPERATORS {
            return Err(Stop::Limit);
        }
        let (mut domain, mut name) = (String::new(), String::new());
        fields(cursor, range, budget, &mut |cursor, budget, number, value| {
            match (number, value) {
                (4, Value::Bytes(range)) => name = text(cursor, range, MAX_NAME)?,
                (7, Value::Bytes(range)) => domain = text(cursor, range, MAX_NAME)?,
                (5, Value::Bytes(range)) => {
                    fields(cursor, range, budget, &mut |cursor, budget, number, value| match (number, value) {
                        (6 | 11, Value::Bytes(range)) => self.graph(cursor, range, budget, depth + 1),
                        _ => Ok(()),
                    })?
                }
                _ => {}
            }
            Ok(())
        })?;
        self.uses.insert((domain, name));
        Ok(())
    }

    /// TrainingInfoProto: two graphs.
    fn training(&mut self, cursor: &mut Cursor<'_, '_>, range: Range<u64>, budget: &mut Budget) -> Result<(), Stop> {
        fields(cursor, range, budget, &mut |cursor, budget, number, value| match (number, value) {
            (1 | 2, Value::Bytes(range)) => self.graph(cursor, range, budget, 1),
            _ => Ok(()),
        })
    }

    /// FunctionProto: `name` is 1, `node` 7, `domain` 10.
    fn function(&mut self, cursor: &mut Cursor<'_, '_>, range: Range<u64>, budget: &mut Budget) -> Result<(), Stop> {
        let (mut domain, mut name) = (String::new(), String::new());
        fields(cursor, range, budget, &mut |cursor, budget, number, value| {
            match (number, value) {
                (1, Value::Bytes(range)) => name = text(cursor, range, MAX_NAME)?,
                (10, Value::Bytes(range)) => domain = text(cursor, range, MAX_NAME)?,
                (7, Value::Bytes(range)) => self.node(cursor, range, budget, 1)?,
                _ => {}
            }
            Ok(())
        })?;
        self.defines.insert((domain, name));
        Ok(())
    }
}
