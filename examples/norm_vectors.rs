//! Prints the `norms` line of a model for `policies/lineage.toml`: `cargo run --release --example norm_vectors -- BASE`.
//! With two bases it says how alike their norms are: for each vector kept of the first, the nearest one of the second.

use sealwright::base::{Base, Norm};
use sealwright::license::{NormPrint, Norms};
use std::path::Path;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let norms = |folder: &str| -> Result<Vec<Norm>> { Ok(Base::open(Path::new(folder))?.norms()?) };
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [base] => {
            let kept = Norms::kept(&norms(base)?).ok_or("no trained norms here")?;
            let prints: Vec<String> = kept.prints.into_iter().map(|p| format!("\"{}\"", String::from(p))).collect();
            println!("[model.norms]\nwidth = {}\nprints = [\n  {},\n]", kept.width, prints.join(",\n  "));
        }
        [one, other] => compare(&norms(one)?, &norms(other)?),
        _ => return Err("usage: norm_vectors BASE | norm_vectors BASE OTHER".into()),
    }
    Ok(())
}

fn compare(one: &[Norm], other: &[Norm]) {
    let blocks = one.iter().filter_map(|n| n.block).max().map_or(0, |last| last + 1);
    for norm in one.iter().filter(|n| n.block.is_none_or(|block| block == 0 || block == blocks / 2)) {
        let Some(print) = NormPrint::of(&norm.values) else { continue };
        let scored = other.iter().filter_map(|o| {
            let same = o.values.len() == norm.values.len();
            same.then(|| NormPrint::of(&o.values))
                .flatten()
                .map(|p| (print.cosine(&p), exact(&norm.values, &o.values), o))
        });
        match scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((cosine, exact, o)) => println!("{}: {cosine:.3} (exact {exact:.3}) {}", norm.name, o.name),
            None => println!("{}: none of its width", norm.name),
        }
    }
}

/// The cosine of the deviations themselves.
fn exact(one: &[f32], other: &[f32]) -> f64 {
    let deviations = |values: &[f32]| {
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        values.iter().map(|v| f64::from(*v) - mean).collect::<Vec<f64>>()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let (a, b) = (deviations(one), deviations(other));
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}
