//! Which files of a folder travel: what a trainer leaves beside the derivative is known by its name, and stays.

use super::derivative::{self, SourceFile};
use super::limits;
use crate::error::{AtPath, Error, Result};
use std::path::{Path, PathBuf};

/// What stays, and why. A name that ends in `/` is a folder's; `*` stands for any text. Whatever the case.
const STAYS: [(&str, &[&str]); 4] = [
    (
        "the state of a training, not its result",
        &[
            "checkpoint-*/",
            "global_step*/",
            "latest",
            "optimizer.bin",
            "optimizer.pt",
            "random_states_*.pkl",
            "rng_state*.pth",
            "scaler.pt",
            "scheduler.bin",
            "scheduler.pt",
            "trainer_state.json",
            "zero_to_fp32.py",
        ],
    ),
    (
        "a record of a training",
        &[
            "*.log",
            "*_results.json",
            "events.out.tfevents.*",
            "llamaboard_config.yaml",
            "mlruns/",
            "running_log.txt",
            "runs/",
            "trainer_log.jsonl",
            "training_args.bin",
            "training_args.yaml",
            "training_*loss.png",
            "training_*accuracy.png",
            "wandb/",
        ],
    ),
    ("a card of its own; the bundle's is MODEL_CARD.md", &["readme.md"]),
    (
        "of a tool, not of the derivative",
        &[
            ".cache/",
            ".ds_store",
            ".git/",
            ".gitattributes",
            ".gitignore",
            ".huggingface/",
            ".ipynb_checkpoints/",
            "__pycache__/",
        ],
    ),
];

/// What a derivative is sealed from.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// In the payload's order.
    pub files: Vec<SourceFile>,
    /// What stays: its name (a folder's with `/`), and why.
    pub left: Vec<(String, &'static str)>,
}

/// The files of a derivative: one file, or those of a folder but for what a trainer leaves beside them; `only` names
/// the files and folders in it that travel, whatever they are called.
///
/// # Errors
/// `bad-input` for links, for names that a bundle can't hold, and where nothing is left.
pub fn gather(path: &Path, only: Option<&[PathBuf]>) -> Result<Gathered> {
    let mut gathered = Gathered { files: Vec::new(), left: Vec::new() };
    match only {
        Some(names) => names.iter().try_for_each(|name| gathered.named(path, name))?,
        None if path.is_file() => gathered.add(path, name_of(path.parent().unwrap_or(path), path))?,
        None => gathered.walk(path, path, true)?,
    }
    gathered.files.sort_by(|a, b| a.name.cmp(&b.name));
    gathered.left.sort();
    derivative::check(&gathered.files).map_err(|error| match gathered.files.is_empty() {
        true => Error::input(path, &error).with_hint("`[derivative] files` names what travels"),
        false => error,
    })?;
    Ok(gathered)
}

impl Gathered {
    /// A file or folder that the product file names.
    fn named(&mut self, root: &Path, name: &Path) -> Result<()> {
        let path = root.join(name);
        if name.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(Error::input(&path, "not a name inside the derivative's folder"));
        }
        match path.symlink_metadata().at(&path)?.is_dir() {
            true => self.walk(root, &path, false),
            false => self.add(&path, name_of(root, &path)),
        }
    }

    fn walk(&mut self, root: &Path, folder: &Path, choose: bool) -> Result<()> {
        for entry in std::fs::read_dir(folder).at(folder)? {
            let path = entry.at(folder)?.path();
            let is_folder = path.symlink_metadata().at(&path)?.is_dir();
            let name = name_of(root, &path);
            if let Some(why) = stays(&name, is_folder).filter(|_| choose) {
                self.left.push((if is_folder { name + "/" } else { name }, why));
            } else if is_folder {
                self.walk(root, &path, choose)?;
            } else {
                self.add(&path, name)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, name: String) -> Result<()> {
        if !path.symlink_metadata().at(path)?.is_file() {
            return Err(Error::input(path, "neither a regular file nor a folder")
                .with_hint("replace the link by what it points at"));
        }
        self.files.push(SourceFile { name, path: path.to_owned() });
        match self.files.len() as u64 {
            n if n >= limits::MAX_FILES => Err(Error::input(path, format!("more than {} files", limits::MAX_FILES))),
            _ => Ok(()),
        }
    }
}

fn name_of(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// Why a file or folder of this name stays behind.
fn stays(name: &str, is_folder: bool) -> Option<&'static str> {
    let last = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let is = |pattern: &&str| match pattern.strip_suffix('/') {
        Some(folder) => is_folder && matches(folder, &last),
        None => !is_folder && matches(pattern, &last),
    };
    STAYS.iter().find(|(_, patterns)| patterns.iter().any(&is)).map(|(why, _)| *why)
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((begin, end)) => name.len() >= begin.len() + end.len() && name.starts_with(begin) && name.ends_with(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each trainer leaves behind, and what of it travels.
    const FOLDERS: [(&str, &[&str], &[&str]); 4] = [
        (
            "PEFT and transformers",
            &["checkpoint-50/optimizer.pt", "runs/x/events.out.tfevents.1.h.2.0", "training_args.bin", "README.md"],
            &["adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "chat_template.jinja"],
        ),
        (
            "Unsloth",
            &["README.md", ".gitattributes"],
            &["adapter_config.json", "adapter_model.safetensors", "special_tokens_map.json"],
        ),
        (
            "axolotl",
            &["debug.log", "checkpoint-8/global_step8/x.pt", "README.md"],
            &["adapter_config.json", "adapter_model.safetensors", "config.json"],
        ),
        (
            "LLaMA-Factory",
            &["all_results.json", "trainer_log.jsonl", "trainer_state.json", "training_loss.png", "train_results.json"],
            &["adapter_config.json", "adapter_model.safetensors", "added_tokens.json"],
        ),
    ];

    fn put(folder: &Path, name: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "{}").unwrap();
    }

    fn names(gathered: &Gathered) -> Vec<&str> {
        gathered.files.iter().map(|f| f.name.as_str()).collect()
    }

    #[test]
    fn what_trainers_leave_beside_an_adapter_stays_and_is_said() {
        for (trainer, stays, travels) in FOLDERS {
            let dir = tempfile::tempdir().unwrap();
            stays.iter().chain(travels).for_each(|name| put(dir.path(), name));
            let gathered = gather(dir.path(), None).unwrap();
            let mut travels = travels.to_vec();
            travels.sort_unstable();
            assert_eq!(names(&gathered), travels, "{trainer}");
            let said = |name: &&str| gathered.left.iter().any(|(left, _)| name.starts_with(left.as_str()));
            assert!(stays.iter().all(said), "{trainer}: {:?}", gathered.left);
        }
    }

    #[test]
    fn what_is_named_travels_alone() {
        let dir = tempfile::tempdir().unwrap();
        let all = ["model.onnx", "README.md", "saved/variables/variables.index", "saved/x.json"];
        all.iter().for_each(|name| put(dir.path(), name));
        let some = [PathBuf::from("README.md"), PathBuf::from("saved")];
        let gathered = gather(dir.path(), Some(&some)).unwrap();
        assert_eq!(names(&gathered), ["README.md", "saved/variables/variables.index", "saved/x.json"]);
        let alone = gather(&dir.path().join("model.onnx"), None).unwrap();
        assert_eq!(names(&alone), ["model.onnx"]);
        for outside in ["../x", "/etc/passwd", "saved/../../x", "nothing"] {
            assert!(gather(dir.path(), Some(&[outside.into()])).is_err(), "{outside}");
        }
    }

    #[test]
    fn what_cannot_travel_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(gather(dir.path(), None).unwrap_err().to_string().contains("no file"));
        put(dir.path(), "adapter_model.safetensors");
        for name in [".hidden.json", "NOTICE", "model.sig", "a b.json", "REPORT.JSON", "LICENSES/MIT.txt"] {
            put(dir.path(), name);
            assert!(gather(dir.path(), None).unwrap_err().hint().is_some(), "{name}");
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("adapter_model.safetensors", dir.path().join("link.json")).unwrap();
            assert!(gather(dir.path(), None).unwrap_err().to_string().contains("link.json"));
        }
    }
}
