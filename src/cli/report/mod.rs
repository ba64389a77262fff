//! The pre-flight's report in the forms that people and programs read: text, SARIF, HTML. JSON is the report itself.

pub mod common;
mod compare;
mod html;
mod places;
mod sarif;
mod text;
mod watch;
mod why;

pub use common::Judged;
pub use compare::{compared, document};
pub use html::page;
pub use places::Places;
pub use sarif::log;
pub use text::text;
pub use watch::watched;
pub use why::path;
