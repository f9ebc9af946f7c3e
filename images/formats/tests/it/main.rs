//! The formats against readers that share no code with them: Python's own modules, U-Boot's and dtc's tools,
//! OpenSSL.

#![forbid(unsafe_code)]

mod fit;
mod merge;
mod stream;
mod trust;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use nic_image_formats::bfb::{self, Image, ImageId, PrivateKey, PublicKey, Version};
use serde_json::Value;

/// The first test vector of RFC 8032, in the form of `openssl genpkey`.
const PRIVATE: &str = include_str!("../test-key.pem");
/// What `openssl pkey -pubout` makes of it.
const PUBLIC: &str = include_str!("../test-key.pub.pem");
/// The second one.
const OTHER: &str = include_str!("../other-key.pub.pem");

fn private() -> PrivateKey {
    PrivateKey::from_pem(PRIVATE).expect("a key")
}

fn public() -> PublicKey {
    PublicKey::from_pem(PUBLIC).expect("a key")
}

fn id(number: u8) -> ImageId {
    ImageId::new(number).expect("an id")
}

fn version(number: u8) -> Version {
    Version::new(number).expect("a version")
}

fn image(number: u8, of: u8, bytes: &[u8]) -> Image<'_> {
    Image::of_bytes(id(number), version(of), bytes)
}

fn stream(images: Vec<Image<'_>>, bf_cfg: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let written = bfb::write(images, bf_cfg, &mut out).expect("a stream");
    assert_eq!(written, out.len() as u64);
    out
}

/// A site's own boot stream: stages for both generations, and how its maker starts things.
fn default_bfb() -> Vec<u8> {
    let stages = [(1, 0), (6, 0), (1, 1), (6, 1), (1, 2), (6, 2), (3, 1), (5, 0), (52, 0)];
    let mut images: Vec<Image<'_>> =
        stages.into_iter().map(|(number, of)| image(number, of, b"a stage of the maker's")).collect();
    images.push(image(55, 0, b"default"));
    images.push(image(58, 0, b"their path"));
    images.push(image(59, 0, b"their arguments"));
    images.push(image(59, 2, b"their arguments for the newest"));
    stream(images, b"")
}

/// Runs a program of another hand with bytes as its input; its output.
fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child =
        spawned.unwrap_or_else(|error| panic!("{command:?}: {error}; `cargo xtask setup` installs it"));
    let mut stdin = child.stdin.take().expect("its input");
    let output = std::thread::scope(|scope| {
        // It may write before it has read all.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().expect("its output")
    });
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}{}", String::from_utf8_lossy(&output.stdout));
    output.stdout
}

fn script(name: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name));
    command
}

/// What the reader in Python finds in a BFB, if it is sound.
fn read_bfb(stream: &[u8]) -> Value {
    serde_json::from_slice(&run(&mut script("read_bfb.py"), stream)).expect("JSON")
}

/// Ids, versions and payloads as the reader in Python finds them.
fn found(stream: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
    let json = read_bfb(stream);
    let images = json["images"].as_array().expect("a list");
    let number = |image: &Value, field: &str| image[field].as_u64().expect("a number");
    images
        .iter()
        .map(|image| {
            let payload = unhex(image["payload"].as_str().expect("a short payload"));
            (number(image, "id"), number(image, "version"), payload)
        })
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16).expect("hexadecimal")).expect("one"))
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
