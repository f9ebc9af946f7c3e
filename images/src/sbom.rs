//! What an image is made of, with licences: a software bill of materials, as CycloneDX has it in JSON.
//!
//! Debian's packages with what their copyright files say where a machine can read it, the crates that are
//! linked into our programs, the kernel, and our programs themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cross::packages::Package;
use serde_json::{Value, json};

use crate::error::ImageError;
use crate::kernel::{Kernel, Whose};
use crate::parts::{self, Unpacked};
use crate::step::{Inputs, Workshop};
use crate::{Request, recipe, tool};

/// The version of CycloneDX.
const SPECIFICATION: &str = "1.5";
/// What all is part of.
const IMAGE: &str = "image";
/// Where packages have their licences, in the image and before.
const DOCUMENTATION: &str = "usr/share/doc";
/// What cargo is asked for: crates that other machines need are none of the image's.
const TARGET: &str = "aarch64-unknown-linux-gnu";

/// What an image is made of.
pub(crate) struct Sources<'a> {
    pub(crate) kernel: &'a Kernel,
    /// The packages of the root file system, and those that boot it.
    pub(crate) packages: [&'a Unpacked; 2],
}

/// Writes the bill.
pub(crate) fn write(
    request: &Request<'_>,
    shop: &Workshop,
    sources: &Sources<'_>,
) -> Result<PathBuf, ImageError> {
    let metadata = metadata(&request.places.root)?;
    let lock = recipe::read(&request.places.root.join("Cargo.lock"))?;
    let Request { board, version, epoch, programs, .. } = request;
    let programs: [&Path; 3] = [&programs.datapath, &programs.agent, &programs.nicctl];
    let inputs = Inputs::new("sbom", 1).text("metadata", &metadata).text("lock", &lock);
    let mut inputs =
        inputs.text("board", &board.name).text("version", version).text("epoch", &epoch.to_string());
    for made in sources.packages {
        inputs = inputs.made("packages", &made.made.key);
    }
    inputs = inputs.made("kernel", &sources.kernel.made.key);
    for program in programs {
        inputs = inputs.file(program)?;
    }
    let key = inputs.key();
    shop.step("bill of materials", "sbom.cdx.json", &key, |path| {
        let mut bill = Bill::default();
        for made in sources.packages {
            made.packages.iter().for_each(|package| bill.debian(package, &made.made.path));
        }
        bill.kernel(request.kernel, sources.kernel);
        let graph: Value = serde_json::from_str(&metadata).map_err(|_| printed(&metadata))?;
        for program in programs {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            bill.program(&name, version, &crate::step::sha256(program)?);
        }
        bill.crates(&graph, &checksums(&lock)).ok_or_else(|| printed(&metadata))?;
        let time =
            tool::text(tool::tool("date").args(["-u", "-d", &format!("@{epoch}"), "+%Y-%m-%dT%H:%M:%SZ"]))?;
        let head = json!({
            "bomFormat": "CycloneDX",
            "specVersion": SPECIFICATION,
            "serialNumber": format!("urn:uuid:{}", parts::uuid(&key)),
            "version": 1,
            "metadata": {
                "timestamp": time.trim(),
                "component": {
                    "type": "firmware",
                    "bom-ref": IMAGE,
                    "name": format!("nic-agent for {}", board.title),
                    "version": version,
                },
            },
        });
        let text = bill.finish(head);
        fs::write(path, format!("{text:#}\n")).map_err(ImageError::file("writing", path))
    })
}

fn printed(text: &str) -> ImageError {
    ImageError::Printed { program: "cargo metadata", printed: text.chars().take(200).collect() }
}

/// What cargo says of all crates.
fn metadata(root: &Path) -> Result<String, ImageError> {
    let cargo = std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
    let mut command = Command::new(cargo);
    command.current_dir(root).args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        TARGET,
    ]);
    Ok(tool::text(&mut command)?)
}

/// The hashes of crates of registries, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let value = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
            line.strip_suffix('"').map(str::to_owned)
        };
        if let (Some(name), Some(version), Some(sum)) = (value("name"), value("version"), value("checksum")) {
            found.insert((name, version), sum);
        }
    }
    found
}

/// A bill that is being written.
#[derive(Default)]
struct Bill {
    /// By what others refer to them by.
    components: BTreeMap<String, Value>,
    needs: BTreeMap<String, BTreeSet<String>>,
}

impl Bill {
    fn add(&mut self, reference: &str, component: Value) {
        self.needs.entry(IMAGE.to_owned()).or_default().insert(reference.to_owned());
        self.components.insert(reference.to_owned(), component);
    }

    /// A package of Debian's, unpacked into a tree.
    fn debian(&mut self, package: &Package, tree: &Path) {
        let purl = deb(package);
        let file = format!("{DOCUMENTATION}/{}/copyright", package.name);
        let found = fs::read(tree.join(&file)).map(|text| licences(&String::from_utf8_lossy(&text)));
        let named: Vec<Value> =
            found.unwrap_or_default().into_iter().map(|name| json!({"license": {"name": name}})).collect();
        let mut component = json!({
            "type": "library",
            "bom-ref": purl,
            "name": package.name,
            "version": package.version,
            "purl": purl,
            "hashes": [{"alg": "SHA-256", "content": package.sha256}],
            "properties": [{"name": "debian:copyright", "value": file}],
        });
        if !named.is_empty() {
            component["licenses"] = Value::Array(named);
        }
        self.add(&purl, component);
    }

    fn kernel(&mut self, whose: Whose, kernel: &Kernel) {
        for package in &kernel.packages {
            let purl = deb(package);
            let component = json!({
                "type": "operating-system",
                "bom-ref": purl,
                "name": "linux",
                "version": kernel.release,
                "purl": purl,
                "hashes": [{"alg": "SHA-256", "content": package.sha256}],
                "licenses": [{"expression": "GPL-2.0-only WITH Linux-syscall-note"}],
                "properties": [{"name": "nic:kernel", "value": whose.name()}],
            });
            self.add(&purl, component);
        }
    }

    /// One of our programs, as it is in the image.
    fn program(&mut self, name: &str, version: &str, sha256: &str) {
        let reference = format!("program:{name}");
        let component = json!({
            "type": "application",
            "bom-ref": reference,
            "name": name,
            "version": version,
            "hashes": [{"alg": "SHA-256", "content": sha256}],
            "licenses": [{"expression": "Apache-2.0"}],
        });
        self.add(&reference, component);
    }

    /// All crates that are linked into the programs that are there.
    fn crates(&mut self, metadata: &Value, checksums: &BTreeMap<(String, String), String>) -> Option<()> {
        let packages = by_id(metadata["packages"].as_array()?);
        let nodes = by_id(metadata["resolve"]["nodes"].as_array()?);
        let programs: Vec<String> = self
            .components
            .keys()
            .filter_map(|key| key.strip_prefix("program:").map(str::to_owned))
            .collect();
        let mut open = Vec::new();
        for program in programs {
            let builds = |package: &&Value| {
                let targets = package["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
                let binary = |target: &Value| target["name"] == *program && target["kind"] == json!(["bin"]);
                package["source"].is_null() && targets.iter().any(binary)
            };
            let id = packages.values().find(|package| builds(package))?["id"].as_str()?;
            self.needs.entry(format!("program:{program}")).or_default().insert(reference(packages.get(id)?)?);
            open.push(id);
        }
        let mut seen: BTreeSet<&str> = open.iter().copied().collect();
        while let Some(id) = open.pop() {
            let package = packages.get(id)?;
            let from = reference(package)?;
            self.add(&from, describe(package, checksums)?);
            for other in nodes.get(id)?["deps"].as_array()?.iter().filter(|other| is_linked(other)) {
                let other = other["pkg"].as_str()?;
                self.needs.entry(from.clone()).or_default().insert(reference(packages.get(other)?)?);
                if seen.insert(other) {
                    open.push(other);
                }
            }
        }
        Some(())
    }

    fn finish(self, mut head: Value) -> Value {
        let needs = self.needs.into_iter().map(|(from, to)| json!({"ref": from, "dependsOn": to}));
        head["dependencies"] = needs.collect();
        head["components"] = self.components.into_values().collect();
        head
    }
}

fn by_id(list: &[Value]) -> BTreeMap<&str, &Value> {
    list.iter().filter_map(|value| Some((value["id"].as_str()?, value))).collect()
}

/// What others refer to a crate by: where it comes from a registry, its address there.
fn reference(package: &Value) -> Option<String> {
    let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
    let kind = if package["source"].is_null() { "crate:" } else { "pkg:cargo/" };
    Some(format!("{kind}{name}@{}", escaped(version)))
}

fn describe(package: &Value, checksums: &BTreeMap<(String, String), String>) -> Option<Value> {
    let (name, version) = (package["name"].as_str()?.to_owned(), package["version"].as_str()?.to_owned());
    let reference = reference(package)?;
    let mut component = json!({"type": "library", "bom-ref": reference, "name": name, "version": version});
    if !package["source"].is_null() {
        component["purl"] = json!(reference);
    }
    if let Some(licence) = package["license"].as_str() {
        // Older crates have a slash for it.
        component["licenses"] = json!([{"expression": licence.replace('/', " OR ").replace("  ", " ")}]);
    }
    if let Some(sum) = checksums.get(&(name, version)) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    Some(component)
}

/// Whether what is needed becomes a part of who needs it; the rest is for tests and for building.
fn is_linked(dependency: &Value) -> bool {
    let kinds = dependency["dep_kinds"].as_array().map(Vec::as_slice).unwrap_or_default();
    kinds.iter().any(|kind| kind["kind"].is_null())
}

fn deb(package: &Package) -> String {
    let Package { name, version, architecture, .. } = package;
    format!("pkg:deb/debian/{}@{}?arch={architecture}&distro=bookworm", escaped(name), escaped(version))
}

/// As an address has it.
fn escaped(text: &str) -> String {
    let one = |letter: char| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_' | '~' => letter.to_string(),
        _ => format!("%{:02X}", u32::from(letter)),
    };
    text.chars().map(one).collect()
}

/// The licences that a copyright file names, if it is one that machines can read.
fn licences(text: &str) -> BTreeSet<String> {
    let head = text.lines().next().unwrap_or_default();
    if !head.starts_with("Format") || !head.contains("copyright-format") {
        return BTreeSet::new();
    }
    let names = text.lines().filter_map(|line| line.strip_prefix("License:")).map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPYRIGHT: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
        Files: *\nCopyright: somebody\nLicense: GPL-2+\n\nFiles: a\nLicense:  MIT \n text\n\nLicense: GPL-2+\n words\n";

    #[test]
    fn licences_are_read_where_a_machine_can() {
        let found: Vec<String> = licences(COPYRIGHT).into_iter().collect();
        assert_eq!(found, ["GPL-2+", "MIT"]);
        assert!(licences("This package is under the\nLicense: GPL\n").is_empty());
        assert!(licences("").is_empty());
    }

    #[test]
    fn addresses_have_no_sign_that_means_something_else() {
        let package = Package {
            name: "libstdc++6".into(),
            version: "2:1.02+x~y".into(),
            architecture: "arm64".into(),
            sha256: String::new(),
            file: PathBuf::new(),
        };
        let purl = "pkg:deb/debian/libstdc%2B%2B6@2%3A1.02%2Bx~y?arch=arm64&distro=bookworm";
        assert_eq!(deb(&package), purl);
    }

    fn crate_of(name: &str, source: Value, bin: bool) -> Value {
        let kind = if bin { "bin" } else { "lib" };
        json!({"id": name, "name": name, "version": "1.0.0", "source": source, "license": "MIT/Apache-2.0",
            "targets": [{"name": name, "kind": [kind]}]})
    }

    fn graph() -> Value {
        let needs = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        json!({
            "packages": [
                crate_of("tool", Value::Null, true), crate_of("ours", Value::Null, false),
                crate_of("theirs", json!("registry"), false), crate_of("tester", json!("registry"), false),
                crate_of("unused", json!("registry"), false),
            ],
            "resolve": {"nodes": [
                {"id": "tool", "deps": [needs("ours", Value::Null), needs("tester", json!("dev"))]},
                {"id": "ours", "deps": [needs("theirs", Value::Null), needs("unused", json!("build"))]},
                {"id": "theirs", "deps": []}, {"id": "tester", "deps": []}, {"id": "unused", "deps": []},
            ]},
        })
    }

    #[test]
    fn of_the_crates_only_what_is_linked_into_a_program_is_listed() {
        let lock = "[[package]]\nname = \"theirs\"\nversion = \"1.0.0\"\nchecksum = \"abc\"\n\n[[package]]\nname = \"ours\"\n";
        let mut bill = Bill::default();
        bill.program("tool", "1.2.3", "00");
        bill.crates(&graph(), &checksums(lock)).expect("a graph");
        let bill = bill.finish(json!({}));
        let references: Vec<&str> =
            bill["components"].as_array().unwrap().iter().filter_map(|it| it["bom-ref"].as_str()).collect();
        assert_eq!(
            references,
            ["crate:ours@1.0.0", "crate:tool@1.0.0", "pkg:cargo/theirs@1.0.0", "program:tool"]
        );
        assert_eq!(bill["components"][2]["hashes"][0]["content"], "abc");
        assert_eq!(bill["components"][2]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        check(&bill);
    }

    #[test]
    fn a_program_that_no_crate_builds_is_not_passed_over() {
        let mut bill = Bill::default();
        bill.program("other", "1.2.3", "00");
        assert_eq!(bill.crates(&graph(), &BTreeMap::new()), None);
    }

    /// What CycloneDX wants of every bill: references are there once, and lead somewhere.
    fn check(bill: &Value) {
        let mut known = BTreeSet::from([IMAGE]);
        for component in bill["components"].as_array().unwrap() {
            for field in ["type", "name", "version", "bom-ref"] {
                assert!(
                    component[field].as_str().is_some_and(|text| !text.is_empty()),
                    "{field}: {component}"
                );
            }
            assert!(known.insert(component["bom-ref"].as_str().unwrap()), "twice: {component}");
        }
        for needs in bill["dependencies"].as_array().unwrap() {
            assert!(known.contains(needs["ref"].as_str().unwrap()), "{needs}");
            for other in needs["dependsOn"].as_array().unwrap() {
                assert!(known.contains(other.as_str().unwrap()), "{other}");
            }
        }
    }
}
