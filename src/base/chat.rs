//! The base's own chat template. It is untrusted code: time, output and recursion are bounded, it sees nothing but the
//! messages, and no clock (`strftime_now` is left out, so a rendering repeats).

use super::{Base, fingerprint, tokenizer::special_token};
use crate::error::{Code, Error, Result};
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, ErrorKind, context};
use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::LazyLock;

/// The most instructions that one rendering may take, for each message and as a start.
pub const FUEL_PER_MESSAGE: u64 = 100_000;
/// The most bytes that one rendering may put out beyond the messages' own.
pub const MAX_ADDED_BYTES: usize = 1 << 20;
const MAX_RECURSION: usize = 50;
const NAME: &str = "chat_template";

/// One turn of a dialogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// A chat template, ready to render.
pub struct ChatTemplate {
    folder: PathBuf,
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

impl ChatTemplate {
    /// Compiles the template of a base.
    pub fn open(base: &Base) -> Result<Self> {
        let source = fingerprint::chat_template(base)?.ok_or_else(|| {
            Error::input(&base.folder, "this base has no chat template")
                .with_hint("use an instruct model, or data of format = \"text\" or \"prompt-completion\"")
        })?;
        let source = without_marks(&source);
        let mut environment = Environment::new();
        // as transformers sets up Jinja for chat templates
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_recursion_limit(MAX_RECURSION);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_filter("tojson", to_json);
        environment
            .add_template_owned(NAME, source)
            .map_err(|e| Error::input(&base.folder, format!("chat template: {}", describe(&e, ""))))?;
        Ok(Self {
            folder: base.folder.clone(),
            environment,
            bos_token: special_token(base, "bos_token")?.unwrap_or_default(),
            eos_token: special_token(base, "eos_token")?.unwrap_or_default(),
        })
    }

    /// The dialogue as the base was taught to read it; with `add_generation_prompt` it ends where the answer begins.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL_PER_MESSAGE * (messages.len() as u64 + 1)));
        let said: usize = messages.iter().map(|m| m.content.len() + m.role.len()).sum();
        let mut out = Bounded { text: Vec::new(), limit: 2 * said + MAX_ADDED_BYTES };
        let context = context! {
            messages => messages,
            add_generation_prompt => add_generation_prompt,
            bos_token => self.bos_token,
            eos_token => self.eos_token,
        };
        let template = environment.get_template(NAME).map_err(|e| self.wrong(&e))?;
        // a template can make the engine itself panic, with a slice for one: that is the template's failure, not ours
        let rendered = catch_unwind(AssertUnwindSafe(|| template.render_captured_to(context, &mut out).map(drop)));
        let failed = |_| Error::input(&self.folder, "chat template: the template engine fails at it");
        rendered.map_err(failed)?.map_err(|e| self.wrong(&e))?;
        String::from_utf8(out.text).map_err(|_| Error::input(&self.folder, "chat template: its output is not UTF-8"))
    }

    /// The token that the template itself puts at the start, if the tokenizer's configs name one.
    pub fn bos_token(&self) -> &str {
        &self.bos_token
    }

    fn wrong(&self, error: &minijinja::Error) -> Error {
        let source = self.environment.get_template(NAME).map(|t| t.source().to_owned()).unwrap_or_default();
        let message = format!("{}: chat template: {}", self.folder.display(), describe(error, &source));
        Error::new(Code::BadInput, message)
            .with_hint("the template rules which roles may follow each other; look at the data's roles")
    }
}

/// A template without the marks of what the assistant generates (`{% generation %}`, an extension of transformers), which
/// put out nothing; the white space around them is cut as before.
fn without_marks(source: &str) -> String {
    static MARK: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("a pattern of our own"));
    let plain = |found: &Captures<'_>| {
        let word = if found.get(2).is_some() { "endif" } else { "if true" };
        format!("{{%{} {word} {}%}}", &found[1], &found[3])
    };
    MARK.replace_all(source, plain).into_owned()
}

/// What the template engine says, without the values that it was fed: they may be private.
fn describe(error: &minijinja::Error, source: &str) -> String {
    let line = error.line().map_or(String::new(), |line| format!(" in line {line}"));
    match error.kind() {
        ErrorKind::OutOfFuel => format!("takes too long{line}"),
        ErrorKind::WriteFailure => format!("puts out too much{line}"),
        // raise_exception with words of the template itself
        ErrorKind::InvalidOperation if error.detail().is_some_and(|d| !d.is_empty() && source.contains(d)) => {
            error.detail().unwrap_or_default().to_owned()
        }
        kind => format!("{kind}{line}"),
    }
}

/// `tojson` as transformers defines it: no HTML escapes, Python's separators.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.get::<Option<bool>>("ensure_ascii")?;
    options.assert_all_used()?;
    let wrong = |e: serde_json::Error| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string());
    let mut text = Vec::new();
    match indent {
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter)).map_err(wrong)?;
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, PythonStyle)).map_err(wrong)?,
    }
    Ok(Value::from_safe_string(String::from_utf8_lossy(&text).into_owned()))
}

/// `json.dumps`: `, ` and `: `.
struct PythonStyle;

impl serde_json::ser::Formatter for PythonStyle {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

struct Bounded {
    text: Vec<u8>,
    limit: usize,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.text.len() + bytes.len() > self.limit {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> Result<ChatTemplate> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), "{}").unwrap();
        let config = serde_json::json!({"chat_template": source, "bos_token": "<s>", "eos_token": {"content": "</s>"}});
        std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        ChatTemplate::open(&Base::open(dir.path()).unwrap())
    }

    fn dialogue() -> Vec<Message> {
        [("user", "Hi"), ("assistant", " Yo \n")]
            .map(|(role, content)| Message { role: role.into(), content: content.into() })
            .to_vec()
    }

    #[test]
    fn templates_as_the_ecosystem_writes_them() {
        let source = "{{ bos_token }}\n{% for m in messages %}\n  {% if m['role'] == 'user' %}\n[{{ m.content.strip() }}]\
                      {%- else %}\n{{ m['content'].strip().upper() + eos_token }}{% endif %}\n{% endfor %}\n\
                      {% if add_generation_prompt %}>{{ {'a': [1, 'ü']} | tojson }}{% endif %}";
        let chat = template(source).unwrap();
        assert_eq!(chat.render(&dialogue(), false).unwrap(), "<s>\n[Hi]YO</s>");
        assert_eq!(chat.render(&[], true).unwrap(), "<s>\n>{\"a\": [1, \"ü\"]}");
    }

    #[test]
    fn a_hostile_template_is_stopped() {
        let loops = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}";
        let floods = "{% for i in range(9000) %}{{ 'x' * 90000 }}{% endfor %}";
        let recurses = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
        let panics = "{{ ''[::-1] }}";
        for (source, said) in [
            (loops, "takes too long"),
            (floods, "puts out too much"),
            (recurses, "chat template"),
            (panics, "the template engine fails"),
        ] {
            let error = template(source).unwrap().render(&dialogue(), false).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
        let error =
            template("{{ raise_exception(messages[0].content) }}").unwrap().render(&dialogue(), false).unwrap_err();
        assert!(!error.to_string().contains("Hi"), "{error}");
        let error = template("{{ raise_exception('roles must alternate') }}").unwrap().render(&[], false).unwrap_err();
        assert!(error.to_string().ends_with("roles must alternate"), "{error}");
    }
}
