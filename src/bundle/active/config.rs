//! JSON that names code to be loaded: `auto_map`, `custom_pipelines`, `_target_`, modules of Keras and of
//! sentence-transformers. Read as a stream of words, more leniently than any loader: Python takes NaN, huge numbers and
//! deep nesting where a strict reader would stop looking.

use super::source::{Cursor, Stop, Window};
use super::{Active, Found};
use std::io;

/// Objects in objects that are looked at.
const MAX_DEPTH: usize = 1 << 16;
/// Bytes of a key or a value that are looked at.
const MAX_WORD: usize = 256;

/// Keys whose value names code, where it is not `null`, `false` or empty.
const KEYS: [&str; 4] = ["auto_map", "custom_pipelines", "custom_pipeline", "_target_"];
/// Whose modules hold layers that are known.
const KERAS: [&str; 5] = ["keras", "tf_keras", "tensorflow", "keras_nlp", "keras_hub"];

/// What one object says that only together means something.
#[derive(Default)]
struct Object {
    class: Option<String>,
    module: Option<String>,
    kind: Option<String>,
    is_part: bool,
}

/// Looks at a file that begins as JSON does.
pub fn look(found: &mut Found, name: &str, head: &[u8], window: &mut Window<'_>) -> io::Result<()> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    if !matches!(text.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return Ok(());
    }
    match walk(found, name, &mut Cursor::new(window)) {
        Err(Stop::Io(error)) => Err(error),
        Err(Stop::Limit) => {
            found.add(Active::Unread, name, "nested too deeply");
            Ok(())
        }
        Ok(()) | Err(Stop::Not) => Ok(()),
    }
}

fn walk(found: &mut Found, name: &str, cursor: &mut Cursor<'_, '_>) -> Result<(), Stop> {
    let mut objects: Vec<Object> = Vec::new();
    let (mut word, mut key): (Option<String>, Option<String>) = (None, None);
    while let Some(byte) = cursor.next()? {
        match byte {
            b'"' => {
                let text = string(cursor)?;
                match key.take() {
                    None => word = Some(text),
                    Some(key) => value(found, name, &key, &text, objects.last_mut()),
                }
            }
            b':' => key = word.take(),
            b'{' | b'[' => {
                // what the key holds is not empty, unless it ends at once
                let key = key.take().filter(|key| KEYS.contains(&key.as_str()));
                if let Some(key) = key
                    && !matches!(after_space(cursor)?, Some(b'}' | b']'))
                {
                    found.add(Active::ConfigCode, name, &format!("`{key}`"));
                }
                objects.push(Object::default());
                if objects.len() > MAX_DEPTH {
                    return Err(Stop::Limit);
                }
            }
            b'}' | b']' => {
                objects.pop().iter().for_each(|object| object.judge(found, name));
                (word, key) = (None, None);
            }
            b',' => (word, key) = (None, None),
            _ => {}
        }
    }
    objects.iter().for_each(|object| object.judge(found, name));
    Ok(())
}

/// A key with a text.
fn value(found: &mut Found, name: &str, key: &str, text: &str, object: Option<&mut Object>) {
    if KEYS.contains(&key) && !text.is_empty() {
        found.add(Active::ConfigCode, name, &format!("`{key}`"));
    }
    if key == "parent_library" && text.starts_with("transformers_modules") {
        found.add(Active::ConfigCode, name, "`parent_library` of a downloaded module");
    }
    let Some(object) = object else { return };
    match key {
        "class_name" => object.class = Some(text.to_owned()),
        "module" => object.module = Some(text.to_owned()),
        "type" => object.kind = Some(text.to_owned()),
        "path" => object.is_part = true,
        _ => {}
    }
}

impl Object {
    fn judge(&self, found: &mut Found, name: &str) {
        let top = |module: &str| module.split('.').next().unwrap_or_default().to_owned();
        if self.class.as_deref() == Some("Lambda") {
            found.add(Active::KerasCode, name, "a Lambda layer");
        }
        if let (Some(_), Some(module)) = (&self.class, &self.module)
            && !KERAS.contains(&top(module).as_str())
        {
            found.add(Active::KerasCode, name, &format!("a layer of the module {module}"));
        }
        // modules.json of sentence-transformers
        let is_class = |kind: &&String| kind.contains('.') && top(kind) != "sentence_transformers";
        if let Some(kind) = self.kind.as_ref().filter(is_class).filter(|_| self.is_part) {
            found.add(Active::ConfigCode, name, &format!("a module of the class {kind}"));
        }
    }
}

/// The next byte that is no white space, not taken.
fn after_space(cursor: &mut Cursor<'_, '_>) -> Result<Option<u8>, Stop> {
    loop {
        let at = cursor.at;
        match cursor.next()? {
            Some(b' ' | b'\t' | b'\r' | b'\n') => {}
            byte => {
                cursor.at = at;
                return Ok(byte);
            }
        }
    }
}

/// A string after its first quote, escapes resolved; of a long one the beginning.
fn string(cursor: &mut Cursor<'_, '_>) -> Result<String, Stop> {
    let mut bytes = Vec::new();
    loop {
        let byte = match cursor.byte()? {
            b'"' => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            b'\\' => match cursor.byte()? {
                b'u' => {
                    let digits = cursor.bytes::<4>()?;
                    let code = std::str::from_utf8(&digits).ok().and_then(|d| u32::from_str_radix(d, 16).ok());
                    // beyond ASCII no word is looked for
                    code.and_then(|code| u8::try_from(code).ok()).filter(u8::is_ascii).unwrap_or(b'?')
                }
                other => other,
            },
            byte => byte,
        };
        if bytes.len() < MAX_WORD {
            bytes.push(byte);
        }
    }
}
