//! Prints the `[[text]]` table of a licence's record: `cargo run --release --example license_text -- ID FILE`.
//! The text itself never enters the project, only its digest and its sketch.

use sealwright::license::{Policies, fingerprint};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [id, file] = args.as_slice() else { return Err("usage: license_text ID FILE".into()) };
    let text = std::fs::read_to_string(file)?;
    let (digest, words, sketch) = fingerprint(&text, id, &Policies::load(None)?);
    let sketch = String::from(sketch);
    println!("[[text]]\nrole = \"licence\"\nstanding = \"read\"\nsha256 = \"{digest}\"\nwords = {words}");
    println!("sketch = \"{sketch}\"");
    Ok(())
}
