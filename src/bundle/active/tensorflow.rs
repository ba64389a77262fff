//! TensorFlow graphs (a SavedModel, a frozen graph): operators that are not TensorFlow's, that call Python, or that touch
//! files. Field numbers are those of `saved_model.proto`, `meta_graph.proto`, `graph.proto`, `function.proto`.

use super::protobuf::{Budget, Value, fields, text};
use super::source::{Cursor, Stop, Window};
use std::collections::BTreeSet;
use std::ops::Range;

/// The operators of tensorflow-cpu 2.21.0 (its `raw_ops`, and internal ones that graphs are saved with), but for those
/// that call Python, read or write a named file, or talk to a debugger.
const OPERATORS: &str = include_str!("tensorflow_ops.txt");
/// Kinds of operators and functions that a graph may hold before it is not judged any more.
const MAX_OPERATORS: usize = 1 << 16;
/// Bytes of a name that are looked at.
const MAX_NAME: usize = 512;

#[derive(Default)]
struct Graph {
    uses: BTreeSet<String>,
    defines: BTreeSet<String>,
}

/// The first operator that is not TensorFlow's own, where it is a graph.
pub fn look(window: &mut Window<'_>) -> Result<Option<String>, Stop> {
    let saved = walk(window, Graph::saved_model);
    let other = match saved {
        Ok(None) | Err(Stop::Not) => walk(window, Graph::graph)?,
        found => found?,
    };
    Ok(other.map(|name| format!("uses the TensorFlow operator {name:?}")))
}

type Reads = fn(&mut Graph, &mut Cursor<'_, '_>, Range<u64>, &mut Budget) -> Result<(), Stop>;

fn walk(window: &mut Window<'_>, read: Reads) -> Result<Option<String>, Stop> {
    let mut graph = Graph::default();
    let mut cursor = Cursor::new(window);
    let all = 0..cursor.length();
    read(&mut graph, &mut cursor, all, &mut Budget::default())?;
    let known: BTreeSet<&str> = OPERATORS.lines().collect();
    let is_known = |name: &&String| known.contains(name.as_str()) || graph.defines.contains(*name);
    Ok(graph.uses.iter().find(|name| !is_known(name)).cloned())
}

impl Graph {
    /// SavedModel: `meta_graphs` is 2; MetaGraphDef: `graph_def` is 2.
    fn saved_model(&mut self, cursor: &mut Cursor<'_, '_>, range: Range<u64>, budget: &mut Budget) -> Result<(), Stop> {
        fields(cursor, range, budget, &mut |cursor, budget, number, value| match (number, value) {
            (2, Value::Bytes(range)) => {
                fields(cursor, range, budget, &mut |cursor, budget, number, value| match (number, value) {
                    (2, Value::Bytes(range)) => self.graph(cursor, range, budget),
                    _ => Ok(()),
                })
            }
            _ => Ok(()),
        })
    }

    /// GraphDef: `node` is 1, `library` 2; FunctionDefLibrary: `function` is 1.
    fn graph(&mut self, cursor: &mut Cursor<'_, '_>, range: Range<u64>, budget: &mut Budget) -> Result<(), Stop> {
        fields(cursor, range, budget, &mut |cursor, budget, number, value| match (number, value) {
            (1, Value::Bytes(range)) => self.node(cursor, range, budget),
            (2, Value::Bytes(range)) => {
                fields(cursor, range, budget, &mut |cursor, budget, number, value| match (number, value) {
                    (1, Value::Bytes(range)) => self.function(cursor, range, budget),
                    _ => Ok(()),
                })
            }
            _ => Ok(()),
        })
    }

    /// NodeDef: `name` is 1, `op` 2.
    fn node(&mut self, cursor: &mut Cursor<'_, '_>, range: Range<u64>, budget: &mut Budget) -> Result<(), Stop> {
        if self.uses.len() + self.defines.len() > MAX_OPERATORS {
            return Err(Stop::Limit);
        }
        let mut operator = None;
        fields(cursor, range, budget, &mut |cursor, _, number, value| {
            if let (2, Value::Bytes(range)) = (number, value) {
                operator = Some(text(cursor, range, MAX_NAME)?);
            }
            Ok(())
        })?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '>' | '/' | '-');
        match operator {
            Some(name) if !name.is_empty() && name.chars().all(fits) => drop(self.uses.insert(name)),
            // not a graph: another message begins alike
            _ => return Err(Stop::Not),
        }
        Ok(())
    }

    /// FunctionDef: `signature` is 1, whose `name` is 1; `node_def` 3.
    fn function(&mut self, cursor: &mut Cursor<'_, '_>, range: Range<u64>, budget: &mut Budget) -> Result<(), Stop> {
        fields(cursor, range, budget, &mut |cursor, budget, number, value| match (number, value) {
            (1, Value::Bytes(range)) => fields(cursor, range, budget, &mut |cursor, _, number, value| {
                if let (1, Value::Bytes(range)) = (number, value) {
                    self.defines.insert(text(cursor, range, MAX_NAME)?);
                }
                Ok(())
            }),
            (3, Value::Bytes(range)) => self.node(cursor, range, budget),
            _ => Ok(()),
        })
    }
}
