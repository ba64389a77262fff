//! Countries by ISO 3166-1 alpha-2, and which of them make up the European Union.

use crate::error::{Error, Result};
use std::path::Path;

/// How records and territories write the European Union.
pub const EU: &str = "EU";

/// Refuses what is no country: a wrong code would never meet the one that a licence leaves out.
pub fn check(place: &Path, code: &str) -> Result<()> {
    if COUNTRIES.contains(&code) {
        return Ok(());
    }
    let upper = code.to_ascii_uppercase();
    let meant = match upper.as_str() {
        "UK" => Some("GB"),
        "EL" => Some("GR"),
        known => COUNTRIES.iter().find(|c| **c == known).copied(),
    };
    let error = Error::input(place, format!("no country: {code}"));
    Err(match meant {
        Some(word) => error.with_hint(format!("did you mean `{word}`?")),
        None => error.with_hint("two capital letters of ISO 3166-1: DE, US, CN"),
    })
}

/// Do these meet? Either may be the European Union.
pub fn meet(one: &str, other: &str) -> bool {
    one == other || (one == EU && MEMBERS.contains(&other)) || (other == EU && MEMBERS.contains(&one))
}

/// Members of the European Union on 2026-01-01.
#[rustfmt::skip]
const MEMBERS: [&str; 27] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV",
    "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
];

/// ISO 3166-1 on 2026-01-01.
#[rustfmt::skip]
const COUNTRIES: [&str; 249] = [
    "AD", "AE", "AF", "AG", "AI", "AL", "AM", "AO", "AQ", "AR", "AS", "AT", "AU", "AW", "AX", "AZ", "BA", "BB",
    "BD", "BE", "BF", "BG", "BH", "BI", "BJ", "BL", "BM", "BN", "BO", "BQ", "BR", "BS", "BT", "BV", "BW", "BY",
    "BZ", "CA", "CC", "CD", "CF", "CG", "CH", "CI", "CK", "CL", "CM", "CN", "CO", "CR", "CU", "CV", "CW", "CX",
    "CY", "CZ", "DE", "DJ", "DK", "DM", "DO", "DZ", "EC", "EE", "EG", "EH", "ER", "ES", "ET", "FI", "FJ", "FK",
    "FM", "FO", "FR", "GA", "GB", "GD", "GE", "GF", "GG", "GH", "GI", "GL", "GM", "GN", "GP", "GQ", "GR", "GS",
    "GT", "GU", "GW", "GY", "HK", "HM", "HN", "HR", "HT", "HU", "ID", "IE", "IL", "IM", "IN", "IO", "IQ", "IR",
    "IS", "IT", "JE", "JM", "JO", "JP", "KE", "KG", "KH", "KI", "KM", "KN", "KP", "KR", "KW", "KY", "KZ", "LA",
    "LB", "LC", "LI", "LK", "LR", "LS", "LT", "LU", "LV", "LY", "MA", "MC", "MD", "ME", "MF", "MG", "MH", "MK",
    "ML", "MM", "MN", "MO", "MP", "MQ", "MR", "MS", "MT", "MU", "MV", "MW", "MX", "MY", "MZ", "NA", "NC", "NE",
    "NF", "NG", "NI", "NL", "NO", "NP", "NR", "NU", "NZ", "OM", "PA", "PE", "PF", "PG", "PH", "PK", "PL", "PM",
    "PN", "PR", "PS", "PT", "PW", "PY", "QA", "RE", "RO", "RS", "RU", "RW", "SA", "SB", "SC", "SD", "SE", "SG",
    "SH", "SI", "SJ", "SK", "SL", "SM", "SN", "SO", "SR", "SS", "ST", "SV", "SX", "SY", "SZ", "TC", "TD", "TF",
    "TG", "TH", "TJ", "TK", "TL", "TM", "TN", "TO", "TR", "TT", "TV", "TW", "TZ", "UA", "UG", "UM", "US", "UY",
    "UZ", "VA", "VC", "VE", "VG", "VI", "VN", "VU", "WF", "WS", "YE", "YT", "ZA", "ZM", "ZW",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_codes_are_refused_with_the_right_one() {
        let hint = |code: &str| check(Path::new("p"), code).err().and_then(|e| e.hint().map(String::from));
        assert_eq!(hint("GB"), None);
        assert_eq!(hint("UK").as_deref(), Some("did you mean `GB`?"));
        assert_eq!(hint("de").as_deref(), Some("did you mean `DE`?"));
        assert!(hint("Germany").unwrap().contains("ISO 3166-1"));
    }

    #[test]
    fn the_union_meets_its_members() {
        assert!(meet("EU", "DE") && meet("FR", "EU") && meet("EU", "EU") && meet("KR", "KR"));
        assert!(!meet("EU", "GB") && !meet("DE", "FR"));
        assert!(MEMBERS.iter().all(|m| COUNTRIES.contains(m)));
    }
}
