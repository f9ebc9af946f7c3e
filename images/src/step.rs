//! Steps that are not taken again when nothing that goes into them has changed.
//!
//! A step has a key, the hash of all its inputs, which is written down beside its products when it is
//! done. Steps that use a product of another put that one's key into theirs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::error::ImageError;
use crate::tool;

/// Stands for all that goes into a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// 64 hexadecimal digits.
    pub(crate) fn hex(&self) -> &str {
        &self.0
    }
}

/// Gathers what goes into a step.
pub(crate) struct Inputs(Sha256);

impl Inputs {
    /// A format of the step itself: to be counted up when its code makes something else of the same.
    pub(crate) fn new(step: &str, format: u32) -> Inputs {
        Inputs(Sha256::new()).text("step", step).text("format", &format.to_string())
    }

    /// A named text.
    pub(crate) fn text(mut self, name: &str, text: &str) -> Inputs {
        for part in [name, text] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// What another step made.
    pub(crate) fn made(self, name: &str, key: &Key) -> Inputs {
        self.text(name, key.hex())
    }

    /// A file, by its content.
    pub(crate) fn file(self, path: &Path) -> Result<Inputs, ImageError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hash = sha256(path)?;
        Ok(self.text(&name, &hash))
    }

    /// A folder: names, kinds and contents of all that is in it.
    pub(crate) fn folder(mut self, folder: &Path) -> Result<Inputs, ImageError> {
        for (name, path) in entries(folder)? {
            let kind = path.symlink_metadata().map_err(ImageError::file("reading", &path))?;
            if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(ImageError::file("reading", &path))?;
                self = self.text(&name, &target.to_string_lossy());
            } else if kind.is_dir() {
                self = self.text("folder", &name).folder(&path)?;
            } else {
                self = self.text("mode", if is_program(&kind) { "x" } else { "-" }).file(&path)?;
            }
        }
        Ok(self.text("end", ""))
    }

    /// A program, by its version.
    pub(crate) fn tool(self, program: &str, argument: &str) -> Result<Inputs, ImageError> {
        // Some say their version on the other stream, or end with an error.
        let output = tool::tool(program)
            .arg(argument)
            .output()
            .map_err(|source| tool::ToolError::Start { program: program.to_owned(), source })?;
        let said = [output.stdout, output.stderr].concat();
        Ok(self.text(program, &String::from_utf8_lossy(&said)))
    }

    pub(crate) fn key(self) -> Key {
        Key(cross::packages::hex(&self.0.finalize()))
    }
}

/// Names and paths in a folder, sorted.
pub(crate) fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, ImageError> {
    let failed = || ImageError::file("reading", folder);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    found.sort();
    Ok(found)
}

/// Whether its owner may run it.
pub(crate) fn is_program(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o100 != 0
}

/// A file's hash, as 64 hexadecimal digits.
pub(crate) fn sha256(path: &Path) -> Result<String, ImageError> {
    cross::packages::sha256(path).map_err(ImageError::file("reading", path))
}

/// Where the steps of one image leave what they make.
pub(crate) struct Workshop {
    /// The folder.
    pub(crate) folder: PathBuf,
}

impl Workshop {
    pub(crate) fn new(folder: PathBuf) -> Result<Workshop, ImageError> {
        fs::create_dir_all(&folder).map_err(ImageError::file("making", &folder))?;
        Ok(Workshop { folder })
    }

    /// The path of something that a step makes.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes `product` unless it is there and was made of the same.
    pub(crate) fn step(
        &self,
        title: &str,
        product: &str,
        key: &Key,
        make: impl FnOnce(&Path) -> Result<(), ImageError>,
    ) -> Result<PathBuf, ImageError> {
        let path = self.path(product);
        let stamp = self.path(&format!(".{product}.key"));
        if path.exists() && fs::read_to_string(&stamp).is_ok_and(|found| found == key.hex()) {
            println!("image: {title}: unchanged");
            return Ok(path);
        }
        println!("image: {title} ...");
        let start = Instant::now();
        // What is half made must not be taken for made.
        remove(&stamp)?;
        remove(&path)?;
        make(&path)?;
        fs::write(&stamp, key.hex()).map_err(ImageError::file("writing", &stamp))?;
        println!("image: {title}: made in {:.1} s", start.elapsed().as_secs_f64());
        Ok(path)
    }
}

/// Removes a file or a folder, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), ImageError> {
    let result = match path.symlink_metadata() {
        Err(_) => return Ok(()),
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    result.map_err(ImageError::file("removing", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_taken_again_only_when_its_inputs_or_its_product_changed() {
        let folder = tempfile::tempdir().unwrap();
        let shop = Workshop::new(folder.path().join("shop")).unwrap();
        let key = |text: &str| Inputs::new("greeting", 1).text("text", text).key();
        let made = |text: &'static str| {
            let mut taken = false;
            let step = shop.step("greeting", "hello", &key(text), |path| {
                taken = true;
                fs::write(path, text).map_err(ImageError::file("writing", path))
            });
            assert_eq!(fs::read_to_string(step.unwrap()).unwrap(), text);
            taken
        };
        assert!(made("good morning"));
        assert!(!made("good morning"));
        assert!(made("good night"));
        assert!(made("good morning"));
        fs::remove_file(shop.path("hello")).unwrap();
        assert!(made("good morning"));
    }

    #[test]
    fn a_step_that_failed_is_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let shop = Workshop::new(folder.path().to_owned()).unwrap();
        let key = Inputs::new("greeting", 1).key();
        let half = |path: &Path| -> Result<(), ImageError> {
            fs::write(path, "half").unwrap();
            Err(ImageError::Missing("ink".into()))
        };
        assert!(shop.step("greeting", "hello", &key, half).is_err());
        let mut taken = false;
        let whole = shop.step("greeting", "hello", &key, |path| {
            taken = true;
            fs::write(path, "whole").map_err(ImageError::file("writing", path))
        });
        assert!(whole.is_ok() && taken);
    }

    #[test]
    fn a_folder_is_its_names_its_contents_and_who_may_run_them() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let key = || Inputs::new("folder", 1).folder(folder.path()).unwrap().key();
        let mut seen = vec![key()];
        let mut changed = |what: &str| {
            let now = key();
            assert!(!seen.contains(&now), "{what}");
            assert_eq!(now, key(), "{what}");
            seen.push(now);
        };
        fs::write(folder.path().join("a"), "1").unwrap();
        changed("a file more");
        fs::write(folder.path().join("a"), "2").unwrap();
        changed("another content");
        fs::set_permissions(folder.path().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        changed("another mode");
        fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        changed("another name");
        fs::create_dir(folder.path().join("c")).unwrap();
        changed("a folder more");
        std::os::unix::fs::symlink("b", folder.path().join("d")).unwrap();
        changed("a link more");
    }

    #[test]
    fn inputs_do_not_run_into_each_other() {
        let two = |a: &str, b: &str| Inputs::new("x", 1).text(a, b).key();
        assert_ne!(two("ab", "c"), two("a", "bc"));
    }
}
