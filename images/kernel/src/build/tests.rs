//! The steps around the compiler, with a source that is a makefile of a few lines.

use std::cell::RefCell;

use tempfile::TempDir;

use super::*;

/// Configures as Kconfig does, dropping what depends on something else, and "builds" what it was told.
const MAKEFILE: &str = "\
alldefconfig:
\tgrep -v CONFIG_DROPPED $(KCONFIG_ALLCONFIG) > .config || true
Image:
\t@echo building
\ttest -z \"$(BREAKS)\"
\tmkdir -p arch/arm64/boot/dts/maker include/config
\techo \"image of $(KBUILD_BUILD_TIMESTAMP)\" > arch/arm64/boot/Image
\techo 6.12.0-nic > include/config/kernel.release
vmlinuz.efi: Image
\techo \"packed $$(cat arch/arm64/boot/Image)\" > arch/arm64/boot/vmlinuz.efi
maker/card.dtb: Image
\techo tree > arch/arm64/boot/dts/$@
";

struct Bench {
    folder: TempDir,
    source: PathBuf,
    cache: PathBuf,
}

impl Bench {
    fn new(makefile: &str) -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let tree = folder.path().join("linux-source");
        fs::create_dir(&tree).expect("a folder");
        fs::write(tree.join("Makefile"), makefile).expect("a file");
        let source = folder.path().join("source.tar");
        let packed = Command::new("tar")
            .arg("-cf")
            .arg(&source)
            .arg("-C")
            .arg(folder.path())
            .arg("linux-source")
            .status();
        assert!(packed.expect("tar").success());
        let cache = folder.path().join("cache");
        Bench { folder, source, cache }
    }

    fn inputs<'a>(&'a self, fragment: &'a str) -> Inputs<'a> {
        Inputs {
            source: &self.source,
            fragment,
            device_trees: &["maker/card.dtb"],
            cache: &self.cache,
            // The machine's own compiler stands for the other.
            cross: "",
            jobs: 1,
            date: 1_700_000_000,
        }
    }

    /// Kernels in the cache, and anything half made.
    fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.cache).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("kernel-")).collect()
    }
}

#[test]
fn a_kernel_is_built_once_and_again_only_for_other_inputs() {
    let bench = Bench::new(MAKEFILE);
    let steps = RefCell::new(Vec::new());
    let build = |inputs: &Inputs<'_>| {
        steps.borrow_mut().clear();
        provide(inputs, &mut |step| steps.borrow_mut().push(step.to_owned())).expect("a kernel")
    };
    let first = build(&bench.inputs("CONFIG_A=y\n"));
    assert_eq!(first.release, "6.12.0-nic");
    assert_eq!(read(&first.image).expect("an image"), "image of @1700000000\n");
    assert_eq!(read(&first.packed).expect("an image"), "packed image of @1700000000\n");
    assert_eq!(read(&first.config).expect("a configuration"), "CONFIG_A=y\n");
    assert_eq!(read(&first.device_trees[0]).expect("a tree"), "tree\n");
    assert_eq!(steps.borrow().len(), 3, "{steps:?}");

    assert_eq!(build(&bench.inputs("CONFIG_A=y\n")), first);
    assert!(steps.borrow().is_empty(), "nothing is done twice: {steps:?}");

    let other = build(&bench.inputs("CONFIG_A=y\nCONFIG_B=y\n"));
    assert_ne!(other.folder, first.folder);
    let later = build(&Inputs { date: 1_800_000_000, ..bench.inputs("CONFIG_A=y\n") });
    assert_ne!(later.folder, first.folder);
    assert_eq!(bench.kept().len(), 3);
}

#[test]
fn a_wish_that_does_not_come_true_is_told_before_anything_is_built() {
    let bench = Bench::new(MAKEFILE);
    let inputs = bench.inputs("CONFIG_A=y\nCONFIG_DROPPED=y\n");
    let error = provide(&inputs, &mut |step| assert!(!step.contains("building"))).expect_err("a wish");
    assert!(error.to_string().ends_with("\n  CONFIG_DROPPED is n instead of y"), "{error}");
    assert!(bench.kept().is_empty());
    let inputs = bench.inputs("CONFIG_A=y\n");
    assert_eq!(configure(&inputs, &mut |_| {}).expect("a configuration").value("A"), "y");
    assert!(bench.kept().is_empty(), "only configured");
}

#[test]
fn a_build_that_breaks_leaves_its_log_and_no_kernel() {
    let bench = Bench::new(&MAKEFILE.replace("$(BREAKS)", "it breaks"));
    let error = provide(&bench.inputs("CONFIG_A=y\n"), &mut |_| {}).expect_err("a failure");
    let BuildError::Step { step, log, last } = error else { panic!("{error}") };
    assert_eq!(step, "building");
    assert!(last.contains("building") && last.contains("Error 1"), "{last}");
    assert!(read(&log).expect("a log").contains("Error 1"));
    assert!(!bench.kept().iter().any(|name| !name.starts_with("kernel-work-")), "{:?}", bench.kept());
}

#[test]
fn what_somebody_had_begun_who_was_killed_is_removed_and_whole_kernels_stay() {
    let bench = Bench::new(MAKEFILE);
    let kernel = provide(&bench.inputs("CONFIG_A=y\n"), &mut |_| {}).expect("a kernel");
    let begun = bench.cache.join("kernel-work-1");
    fs::create_dir(&begun).expect("a folder");
    fs::write(begun.join("half"), "half").expect("a file");
    assert_eq!(provide(&bench.inputs("CONFIG_A=y\n"), &mut |_| {}).expect("a kernel"), kernel);
    assert_eq!(bench.kept().len(), 1, "{:?}", bench.kept());
}

#[test]
fn how_far_a_build_is_are_the_files_that_its_log_has() {
    let log = "  SYNC    include/config/auto.conf\n  CC      kernel/sys.o\n  AS      kernel/x.o\n  LD      vmlinux\n";
    assert_eq!(compiled(log), 2);
}

#[test]
fn a_source_or_a_compiler_that_is_not_there_has_its_name() {
    let bench = Bench::new(MAKEFILE);
    let none = bench.folder.path().join("none.tar");
    let error = provide(&Inputs { source: &none, ..bench.inputs("") }, &mut |_| {}).expect_err("a failure");
    assert!(error.to_string().ends_with("none.tar"), "{error}");
    let error =
        provide(&Inputs { cross: "no-such-", ..bench.inputs("") }, &mut |_| {}).expect_err("a failure");
    assert!(error.to_string().starts_with("no-such-gcc cannot be run"), "{error}");
}
