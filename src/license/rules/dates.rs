//! Texts over time: a copy stays under the text of the day on which it was had, whatever its licensor says later.

use crate::license::finding::FindingCode as F;
use crate::license::rules::chain::{BASE, Chain};
use crate::license::rules::judge::{At, Judge};

/// Compares the day on which the base was had with the days of its texts.
pub fn judge(judge: &mut Judge<'_>, chain: &Chain<'_>) {
    let obtained = judge.declared.obtained;
    if let Some(day) = obtained.filter(|day| *day > judge.today) {
        contradict(judge, BASE, format!("the base was obtained on {day}, after today"));
    }
    for member in chain.members.iter().filter(|m| m.is_of_base()) {
        let record = member.record;
        let release =
            record.limits.iter().filter_map(|l| l.release).find(|release| obtained.is_some_and(|d| d < *release));
        if let (Some(day), Some(release)) = (obtained, release) {
            let id = &record.id;
            let message = format!("the base was obtained on {day}, and {id} came with a version of {release}");
            contradict(judge, &member.of, message);
        }
        let Some(replaced) = &record.replaced else { continue };
        let (id, on, by) = (&record.id, replaced.on, &replaced.by);
        let at = At { term: "text", clause: "whole" };
        match obtained {
            Some(day) if day < on => judge.at(
                member,
                F::TextReplaced,
                at,
                format!("a copy of {day} stays under {id}; since {on} its licensor gives it under {by}"),
                "nothing; or obtain the base anew",
            ),
            Some(day) => {
                let message = format!("the base was obtained on {day}, and since {on} it comes under {by}, not {id}");
                contradict(judge, &member.of, message);
            }
            None => judge.at(
                member,
                F::ObtainedNotStated,
                at,
                format!("its licensor put {by} in the place of {id} on {on}; when the base was had is not stated"),
                "state `[base] obtained`, or obtain the base anew with its text of today",
            ),
        }
        judge.asks_about(&on.to_string());
    }
}

fn contradict(judge: &mut Judge<'_>, subject: &str, message: String) {
    judge.evidence(F::StatementsContradict, subject, message, "correct `[base] obtained`, or compare the base's files");
}
