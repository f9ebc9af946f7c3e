//! Compiles the proto files without a `protoc`: protox parses them, tonic-prost-build writes the
//! messages and services, pbjson-build their canonical JSON, in which an unknown field is an error.

use std::path::{Path, PathBuf};

use prost::Message;

/// Requests with a `google.protobuf.FieldMask`, which pbjson-types does not write as the canonical
/// mapping has it. They travel as protobuf only, so they go without JSON.
const WITHOUT_JSON: &[&str] = &[
    ".nic.v1.UpdateBridgeRequest",
    ".nic.v1.UpdateFdbEntryRequest",
    ".nic.v1.UpdateFlowRuleRequest",
    ".nic.v1.UpdatePortRequest",
    ".nic.v1.UpdateTunnelPeerRequest",
    ".nic.v1.UpdateVtepRequest",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=nic");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);

    let mut files = Vec::new();
    proto_files(Path::new("nic"), &mut files)?;
    files.sort();
    let set = protox::compile(files, [Path::new(".")])?;
    let encoded = set.encode_to_vec();

    // What a server tells its clients by reflection: the public API with what it imports, and
    // nothing of what is between our own processes or on the disk.
    let mut public = set.clone();
    public.file.retain(|file| matches!(file.package(), "nic.v1" | "google.protobuf"));
    std::fs::write(out.join("nic_v1_descriptor.bin"), public.encode_to_vec())?;

    tonic_prost_build::configure()
        // Not compiled here, but so that the path below may name pbjson's: these have JSON forms.
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .emit_rerun_if_changed(false)
        .compile_fds(set)?;

    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .extern_path(".google.protobuf", "::pbjson_types")
        .exclude(WITHOUT_JSON.iter().copied())
        .build(&[".nic.v1"])?;
    Ok(())
}

fn proto_files(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            proto_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
