//! What must travel in clear: licence texts, NOTICE, model card, public report. Out of the clearance and the product.

use super::papers::Papers;
use super::plan::PackPlan;
use std::fmt::Write as _;

/// `NOTICE`.
pub(super) fn notice(plan: &PackPlan<'_>) -> String {
    let day = plan.issued.to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
    let mut text = format!("{} {}\n{}, {day}\n", plan.product.title, plan.product.version, plan.vendor);
    for paragraph in &plan.papers.notice {
        let _ = writeln!(text, "\n{}", paragraph.trim_end());
    }
    text
}

/// `MODEL_CARD.md`.
pub(super) fn model_card(plan: &PackPlan<'_>) -> String {
    let mut text = format!("# {} {}\n\n", plan.product.title, plan.product.version);
    let bases: Vec<_> = plan.bases.iter().map(|b| b.name.as_str()).collect();
    let _ = writeln!(text, "- Vendor: {}\n- Base: {}", plan.vendor, bases.join(", "));
    if let Some(recipe) = &plan.recipe {
        let targets = recipe.targets.join(", ");
        let _ =
            writeln!(text, "- Adapter: {}, rank {}, alpha {}, on {targets}", recipe.method, recipe.rank, recipe.alpha);
    }
    if !plan.purpose.is_empty() {
        let _ = writeln!(text, "- Made for: {}", plan.purpose);
    }
    let _ = writeln!(text, "- Terms: {}\n- Licences of the base: {}", plan.terms, plan.papers.licenses.join(", "));
    let _ = writeln!(text, "- Pre-flight: {} (report.json)", plan.papers.verdict);
    for duty in plan.papers.duties.iter().filter(|d| d.term == "display-mark") {
        let _ = writeln!(text, "\n**{}**", duty.words.as_deref().unwrap_or_default());
    }
    table(
        &mut text,
        "Measured",
        ["what", "value"],
        plan.metrics.iter().map(|(name, value)| [name.clone(), value.clone()]),
    );
    let duties =
        plan.papers.duties.iter().map(|d| [format!("{}, {}: {}", d.license, d.clause, d.term), d.done_by.clone()]);
    table(&mut text, "Obligations", ["licence, clause, duty", "done by"], duties);
    text
}

/// A section with a table, when it has rows.
fn table(text: &mut String, title: &str, head: [&str; 2], rows: impl Iterator<Item = [String; 2]>) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "\n## {title}\n\n| {} | {} |\n|---|---|", head[0], head[1]);
    for row in rows {
        let [a, b] = row.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        let _ = writeln!(text, "| {a} | {b} |");
    }
}

/// `report.json`.
pub(super) fn report(papers: &Papers) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(&papers.report).expect("a JSON value serialises");
    bytes.push(b'\n');
    bytes
}
