//! Configuring and building, and keeping what was made.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::config::{Config, Unmet, unmet};

/// What goes into a kernel.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// The source, as [`SOURCE`](crate::SOURCE) is in its package.
    pub source: &'a Path,
    /// What is wanted of it: [`FRAGMENT`](crate::FRAGMENT).
    pub fragment: &'a str,
    /// Device trees to build: [`DEVICE_TREES`](crate::DEVICE_TREES).
    pub device_trees: &'a [&'a str],
    /// Where kernels are kept, and built.
    pub cache: &'a Path,
    /// What stands before the names of the compiler's programs: `aarch64-linux-gnu-`.
    pub cross: &'a str,
    /// How many compilers run at a time.
    pub jobs: usize,
    /// The date that the kernel says it was built at, in seconds since 1970.
    pub date: u64,
}

/// A kernel that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The folder in the cache that has all of it. Its name changes with whatever went into it.
    pub folder: PathBuf,
    /// `arch/arm64/boot/Image`, which is also an EFI program.
    pub image: PathBuf,
    /// `arch/arm64/boot/vmlinuz.efi`: an EFI program with the same in it, compressed, that unpacks it.
    pub packed: PathBuf,
    /// What `uname -r` says, such as `6.12.117-nic`.
    pub release: String,
    /// Its configuration.
    pub config: PathBuf,
    /// Its device trees.
    pub device_trees: Vec<PathBuf>,
}

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program cannot be run.
    #[error("{program} cannot be run; `cargo xtask setup` installs what a build needs")]
    Program {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A step failed.
    #[error("{step} failed; what it said is in {}{}", log.display(), told(last))]
    Step {
        /// What was done.
        step: &'static str,
        /// All that it said.
        log: PathBuf,
        /// The end of that.
        last: String,
    },
    /// The configuration is not what was asked for.
    #[error(
        "{} wishes of the fragment did not come true: each depends on something that is off, or is no \
         symbol of this kernel:{}", .0.len(), listed(.0)
    )]
    Unmet(Vec<Unmet>),
}

fn told(last: &str) -> String {
    if last.is_empty() { String::new() } else { format!(":\n{last}") }
}

fn listed(unmet: &[Unmet]) -> String {
    unmet.iter().map(|wish| format!("\n  {wish}")).collect()
}

/// How often a step that goes on says how far it is.
const TELL: Duration = Duration::from_secs(30);
/// How often it is looked at whether a step is done.
const LOOK: Duration = Duration::from_millis(200);

/// The kernel of these inputs: from the cache, or built, which takes a quarter of an hour on two idle cores.
/// `progress` is told each step, and every half a minute how far a step is. Of several that want a kernel one
/// builds, and the others wait for it.
///
/// # Errors
/// If a step fails; the cache then has no such kernel, and the log is kept. A build that is killed leaves the
/// kernels that are there as they were; what it had begun is removed by the next.
pub fn provide(inputs: &Inputs<'_>, progress: &mut dyn FnMut(&str)) -> Result<Kernel, BuildError> {
    let folder = inputs.cache.join(format!("kernel-{}", key(inputs)?));
    let _alone = alone(inputs, progress)?;
    if !folder.join("release").is_file() {
        let work = prepare(inputs, progress)?;
        progress("kernel: building; a quarter of an hour on two idle cores, once");
        let made = ["Image", "vmlinuz.efi"].into_iter().chain(inputs.device_trees.iter().copied());
        work.make(inputs, "building", made, progress)?;
        keep(inputs, &work, &folder)?;
        remove(&work.folder)?;
    }
    let release = read(&folder.join("release"))?;
    let name = |tree: &&str| folder.join(Path::new(tree).file_name().unwrap_or(OsStr::new(tree)));
    Ok(Kernel {
        image: folder.join("Image"),
        packed: folder.join("vmlinuz.efi"),
        release: release.trim().to_owned(),
        config: folder.join("config"),
        device_trees: inputs.device_trees.iter().map(name).collect(),
        folder,
    })
}

/// Only configures, and says whether the fragment came true: a minute instead of a build.
///
/// # Errors
/// As [`provide`].
pub fn configure(inputs: &Inputs<'_>, progress: &mut dyn FnMut(&str)) -> Result<Config, BuildError> {
    let _alone = alone(inputs, progress)?;
    let work = prepare(inputs, progress)?;
    let config = Config::read(&read(&work.tree.join(".config"))?);
    remove(&work.folder)?;
    Ok(config)
}

/// Waits until nobody else builds in the cache, and keeps others waiting until it is dropped. Whatever was
/// begun there is of somebody who was killed, and goes.
fn alone(inputs: &Inputs<'_>, progress: &mut dyn FnMut(&str)) -> Result<File, BuildError> {
    let failed = |error| file(inputs.cache, error);
    fs::create_dir_all(inputs.cache).map_err(failed)?;
    let lock = File::create(inputs.cache.join("lock")).map_err(failed)?;
    if lock.try_lock().is_err() {
        progress("kernel: waiting for another that builds one");
        lock.lock().map_err(failed)?;
    }
    for entry in fs::read_dir(inputs.cache).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(WORK) {
            remove(&entry.path())?;
        }
    }
    Ok(lock)
}

/// How the names of folders begin that something is built in.
const WORK: &str = "kernel-work-";

/// All that changes the kernel, as one hash.
fn key(inputs: &Inputs<'_>) -> Result<String, BuildError> {
    let mut source = File::open(inputs.source).map_err(|error| file(inputs.source, error))?;
    let mut hash = Sha256::new();
    io::copy(&mut source, &mut HashWriter(&mut hash)).map_err(|error| file(inputs.source, error))?;
    let program = format!("{}gcc", inputs.cross);
    let compiler = Command::new(&program).arg("--version").output();
    let compiler = compiler.map_err(|source| BuildError::Program { program, source })?.stdout;
    let trees = inputs.device_trees.join("\n");
    for part in [&compiler, inputs.fragment.as_bytes(), trees.as_bytes(), &inputs.date.to_be_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// A source that is being built.
struct Work {
    folder: PathBuf,
    tree: PathBuf,
    log: PathBuf,
}

/// Unpacks the source, configures it and looks at what came of that.
fn prepare(inputs: &Inputs<'_>, progress: &mut dyn FnMut(&str)) -> Result<Work, BuildError> {
    let folder = inputs.cache.join(format!("{WORK}{}", std::process::id()));
    let tree = folder.join("source");
    fs::create_dir_all(&tree).map_err(|error| file(&tree, error))?;
    let work = Work { log: inputs.cache.join("kernel.log"), folder, tree };
    File::create(&work.log).map_err(|error| file(&work.log, error))?;
    progress("kernel: unpacking its source");
    let mut unpack = Command::new("tar");
    unpack.args(["--extract", "--strip-components=1", "--file"]).arg(inputs.source).arg("-C").arg(&work.tree);
    work.run("unpacking", &mut unpack, progress)?;
    progress("kernel: configuring");
    let fragment = work.folder.join("fragment");
    fs::write(&fragment, inputs.fragment).map_err(|error| file(&fragment, error))?;
    work.make(inputs, "configuring", ["alldefconfig"], progress)?;
    let config = Config::read(&read(&work.tree.join(".config"))?);
    let unmet = unmet(&Config::read(inputs.fragment), &config);
    if unmet.is_empty() {
        return Ok(work);
    }
    remove(&work.folder)?;
    Err(BuildError::Unmet(unmet))
}

impl Work {
    fn make<'a>(
        &self,
        inputs: &Inputs<'_>,
        step: &'static str,
        targets: impl IntoIterator<Item = &'a str>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError> {
        let mut make = Command::new("make");
        make.arg("-C").arg(&self.tree).arg(format!("-j{}", inputs.jobs.max(1)));
        make.args(["ARCH=arm64", &format!("CROSS_COMPILE={}", inputs.cross)]).args(targets);
        make.env("KCONFIG_ALLCONFIG", self.folder.join("fragment"));
        // All that a build would take from its machine.
        make.env("KBUILD_BUILD_TIMESTAMP", format!("@{}", inputs.date)).env("KBUILD_BUILD_VERSION", "1");
        make.env("KBUILD_BUILD_USER", "nic-agent").env("KBUILD_BUILD_HOST", "nic-agent");
        make.env("SOURCE_DATE_EPOCH", inputs.date.to_string()).env("LC_ALL", "C").env("TZ", "UTC");
        self.run(step, &mut make, progress)
    }

    /// Runs a step with its words going to the log.
    fn run(
        &self,
        step: &'static str,
        command: &mut Command,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError> {
        let failed = |error| file(&self.log, error);
        let log = File::options().append(true).open(&self.log).map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let program = command.get_program().to_string_lossy().into_owned();
        let status = self.watch(step, command, progress);
        let status = status.map_err(|source| BuildError::Program { program, source })?;
        if status.success() {
            return Ok(());
        }
        Err(BuildError::Step { step, log: self.log.clone(), last: end_of(&read(&self.log)?) })
    }

    /// Waits for its end, and tells how far it is meanwhile.
    fn watch(
        &self,
        step: &str,
        command: &mut Command,
        progress: &mut dyn FnMut(&str),
    ) -> io::Result<ExitStatus> {
        let mut child = command.spawn()?;
        let start = Instant::now();
        let mut told = start;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                let files = fs::read_to_string(&self.log).map_or(0, |log| compiled(&log));
                let minutes = start.elapsed().as_secs_f64() / 60.0;
                progress(&format!("kernel: {step} for {minutes:.1} minutes, {files} files compiled"));
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// The lines of make that say that something is compiled.
fn compiled(log: &str) -> usize {
    log.lines().filter(|line| line.starts_with("  CC ") || line.starts_with("  AS ")).count()
}

/// The last lines, for whoever does not look at the log.
fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

/// Puts what was made into the cache, under its name only when all of it is there.
fn keep(inputs: &Inputs<'_>, work: &Work, folder: &Path) -> Result<(), BuildError> {
    let kept = work.folder.join("kept");
    fs::create_dir_all(&kept).map_err(|error| file(&kept, error))?;
    let boot = work.tree.join("arch/arm64/boot");
    let mut files = vec![
        (boot.join("Image"), "Image"),
        (boot.join("vmlinuz.efi"), "vmlinuz.efi"),
        (work.tree.join(".config"), "config"),
        (work.tree.join("include/config/kernel.release"), "release"),
    ];
    for tree in inputs.device_trees {
        let name = Path::new(tree).file_name().and_then(OsStr::to_str).unwrap_or(tree);
        files.push((boot.join("dts").join(tree), name));
    }
    for (from, name) in files {
        fs::copy(&from, kept.join(name)).map_err(|error| file(&from, error))?;
    }
    remove(folder)?;
    fs::rename(&kept, folder).map_err(|error| file(folder, error))
}

fn remove(folder: &Path) -> Result<(), BuildError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(folder, error)),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<String, BuildError> {
    let bytes = fs::read(path).map_err(|error| file(path, error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn file(path: &Path, source: io::Error) -> BuildError {
    BuildError::File { path: path.to_owned(), source }
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
