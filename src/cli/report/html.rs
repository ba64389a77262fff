//! The report as one file of HTML for a person: no scripts, nothing fetched, made to be printed. Every text that came
//! from a file or a licence is escaped.

use super::super::say::visible;
use super::common::{self, Judged};
use super::compare::changed;
use base64::Engine as _;
use sealwright::digest::Sha256;
use sealwright::license::{DISCLAIMER, Finding, Obligation, ReadText, Reading, Report, Severity};

const STYLE: &str = "
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #bbb; }
.verdict { display: inline-block; padding: .2rem .7rem; border: 2px solid; border-radius: .3rem; font-weight: 600; }
.allow, .allow-with-obligations { color: #10602a; } .needs-review { color: #7a4b00; } .deny { color: #9b1414; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #ddd; overflow-wrap: anywhere; }
article { margin: 0 0 1rem; padding-left: .8rem; border-left: 3px solid #bbb; break-inside: avoid; }
article h3 { font-size: 1rem; margin: 0; } article p { margin: .2rem 0; }
code, pre { font: .92em ui-monospace, monospace; } pre { white-space: pre-wrap; } .small { color: #555; font-size: .87rem; }
@media print { body { margin: 0; max-width: none; font-size: 10pt; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
@page { margin: 18mm; }
";

/// The whole page, a section a base. `title`: what the product calls itself.
pub fn page(title: &str, judged: &[Judged]) -> String {
    let title = escaped(title);
    let sections: String = judged.iter().map(section).collect();
    let compared = match changed(judged).trim() {
        "" => String::new(),
        text => format!("<section>\n{}<pre>{}</pre>\n</section>\n", heading("what changes"), escaped(text)),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{}'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Licence pre-flight: {title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>Licence pre-flight: {title}</h1>\n{sections}{compared}<p class=\"small\">{}</p>\n</body>\n</html>\n",
        base64::engine::general_purpose::STANDARD.encode(Sha256::of(STYLE.as_bytes()).0),
        escaped(DISCLAIMER)
    )
}

fn section(judged: &Judged) -> String {
    let report = &judged.report;
    let findings: String = common::findings(report)
        .map(|(title, of)| heading(title) + &of.into_iter().map(finding).collect::<String>())
        .collect();
    let duties: String = common::duties(report).map(|(title, of)| heading(title) + &duty_table(&of)).collect();
    let base = escaped(&judged.name);
    let verdict = report.verdict().name();
    format!(
        "<section>\n<p>Base: <code>{base}</code></p>\n<p class=\"verdict {verdict}\">{verdict}</p>\n{}{}{findings}{duties}{}{}</section>\n",
        customers(report),
        licenses(report),
        rulings(report),
        digests(report),
    )
}

fn heading(title: &str) -> String {
    let mut letters = title.chars();
    let first = letters.next().map_or(String::new(), |c| c.to_uppercase().to_string());
    format!("<h2>{}</h2>\n", coded(&(first + letters.as_str())))
}

fn customers(report: &Report) -> String {
    let row = |c: &sealwright::license::CustomerVerdict| [escaped(&c.name), verdict(c.verdict.name())];
    table("Customers", ["customer", "verdict"], report.customers().iter().map(row))
}

fn verdict(name: &str) -> String {
    format!("<span class=\"{name}\">{name}</span>")
}

fn licenses(report: &Report) -> String {
    let row = |l: &sealwright::license::Listed| {
        let basis =
            l.basis.as_ref().map_or(String::new(), |b| format!("<br><span class=\"small\">{}</span>", escaped(b)));
        [code(l.id.as_deref().unwrap_or("unknown")), escaped(&common::how(l)), escaped(&common::of(l)) + &basis]
    };
    let read = |(id, reading): (&String, &Reading)| [code(id), escaped(&common::reading(reading)), texts(reading)];
    table("Licences", ["licence", "known by", "of"], report.licenses().iter().map(row))
        + &table("What the facts were read from", ["record", "read", "texts"], report.records().iter().map(read))
}

/// Each text with its whole digest.
fn texts(reading: &Reading) -> String {
    let text = |t: &ReadText| {
        let digest = t.sha256.map_or(String::new(), |digest| format!(" {}", code(&digest.to_string())));
        escaped(t.source.as_deref().unwrap_or("no source stated")) + &digest
    };
    reading.texts.iter().map(text).collect::<Vec<_>>().join("<br>")
}

fn finding(finding: &Finding) -> String {
    let clause = common::clause(finding).map_or(String::new(), |c| format!("{}; ", escaped(&c)));
    let customer = finding.customer.as_ref().map_or(String::new(), |c| format!("; for {} only", escaped(c)));
    let then = match &finding.ruled {
        Some(ruled) => format!("<p>This was {}.</p>\n", escaped(&common::lifted(ruled))),
        None if finding.severity > Severity::Note => format!("<p>Remedy: {}.</p>\n", coded(&finding.remedy)),
        None => String::new(),
    };
    let asked =
        finding.question.as_ref().map_or(String::new(), |q| format!("<p><strong>{}</strong></p>\n", escaped(q)));
    let basis = finding.basis.as_ref().map_or(String::new(), |b| format!("; known from: {}", escaped(b)));
    format!(
        "<article>\n<h3>{}</h3>\n<p>{}</p>\n{asked}{then}<p class=\"small\">{clause}about {}; decided by {}{customer}{basis}</p>\n</article>\n",
        code(finding.code.name()),
        coded(&finding.message),
        code(&finding.subject),
        code(&common::policy(finding)),
    )
}

fn duty_table(duties: &[&Obligation]) -> String {
    let row = |duty: &&Obligation| {
        let words = duty.words.as_ref().map_or(String::new(), |w| format!("<br>Words: <q>{}</q>", escaped(w)));
        let unmet = duty
            .unmet
            .as_ref()
            .map_or(String::new(), |u| format!("<br><span class=\"deny\">Cannot be met yet: {}</span>", escaped(u)));
        [code(&duty.term), escaped(&common::clause_of(&duty.license, &duty.clause)), coded(&duty.how) + &words + &unmet]
    };
    table("", ["duty", "by", "how it is met"], duties.iter().map(row))
}

fn rulings(report: &Report) -> String {
    let row = |r: &sealwright::license::RulingState| [code(r.code.name()), escaped(&r.subject), escaped(&r.state)];
    table("Rulings", ["on", "about", "state"], report.rulings().iter().map(row))
}

fn digests(report: &Report) -> String {
    let digests = report.digests();
    let rows = [
        ("licence files, card and parents", digests.text),
        ("records of licences", digests.facts),
        ("the organisation's decisions", digests.policy),
        ("the declared use", digests.declared),
    ];
    let days = format!("<p>Judged on {}; a clearance holds until {}.</p>\n", report.judged(), report.expires());
    table("What was judged", ["what", "SHA-256"], rows.map(|(what, d)| [escaped(what), code(&d.to_string())])) + &days
}

/// A table of cells that are escaped already; none without rows.
fn table<const N: usize>(title: &str, head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let row = |cells: [String; N]| format!("<tr><td>{}</td></tr>\n", cells.join("</td><td>"));
    let body: String = rows.into_iter().map(row).collect();
    if body.is_empty() {
        return String::new();
    }
    let title = if title.is_empty() { String::new() } else { heading(title) };
    format!("{title}<table>\n<tr><th>{}</th></tr>\n{body}</table>\n", head.join("</th><th>"))
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}

/// Escaped, with what stands in backticks set as code.
fn coded(text: &str) -> String {
    let parts: Vec<String> = text.split('`').map(escaped).collect();
    if parts.len().is_multiple_of(2) {
        return parts.join("`");
    }
    parts.iter().enumerate().map(|(i, p)| if i % 2 == 1 { format!("<code>{p}</code>") } else { p.clone() }).collect()
}

/// Text that no browser takes for anything else.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_through_as_markup() {
        assert_eq!(escaped("<a href='x'>\"&\u{202e}"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\\u{202e}");
        assert_eq!(coded("set `<x>` now"), "set <code>&lt;x&gt;</code> now");
        assert_eq!(coded("a ` b"), "a ` b");
    }
}
