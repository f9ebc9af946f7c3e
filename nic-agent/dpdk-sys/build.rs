//! Finds the installed DPDK, compiles the C shim against its headers and
//! generates the bindings. Nothing generated is committed, so the same source
//! builds against any DPDK from 22.11 on.
//!
//! Crates that depend on this one directly find in their build scripts:
//! `DEP_DPDK_CFLAGS` (what pkg-config says, one line), `DEP_DPDK_VERSION`,
//! `DEP_DPDK_SHIM_INCLUDE` (the folder of `dpdk_shim.h`) and, where the four
//! driver headers are known, `DEP_DPDK_DRIVER_INCLUDE` (the folder of
//! `ethdev_driver.h`); `DEP_DPDK_DRIVER_MISSING` says in words why not.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// The headers a driver needs and Debian's package leaves out.
const DRIVER_HEADERS: [&str; 4] = ["ethdev_driver.h", "ethdev_vdev.h", "bus_vdev_driver.h", "dev_driver.h"];

/// Ends the build with a message that says what to do.
fn refuse(what: &str, why: impl Display) -> ! {
    println!("cargo::error={what}: {why}");
    println!("cargo::error=run `cargo xtask setup`, which installs all that this build needs");
    exit(1)
}

fn main() {
    println!("cargo::rerun-if-changed=shim/dpdk_shim.h");
    println!("cargo::rerun-if-changed=shim/dpdk_shim.c");
    println!("cargo::rerun-if-env-changed=NIC_AGENT_CACHE");

    let library = pkg_config::Config::new()
        .atleast_version("22.11")
        .probe("libdpdk")
        .unwrap_or_else(|why| refuse("DPDK 22.11 or later was not found", why));
    let cflags = cflags();
    println!("cargo::metadata=CFLAGS={}", cflags.join(" "));
    println!("cargo::metadata=VERSION={}", library.version);
    let shim = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("shim");
    println!("cargo::metadata=SHIM_INCLUDE={}", shim.display());
    driver_headers(&library.include_paths, &library.version);

    compile_shim(&cflags);
    generate(&cflags);
}

/// The compiler flags of libdpdk as pkg-config prints them: with `-include` and
/// `-march`, which the pkg-config crate keeps to itself.
fn cflags() -> Vec<String> {
    let tool = of_target("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let mut command = Command::new(tool);
    // The pkg-config crate hands these to the tool; without them the host's DPDK would answer.
    for name in ["PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR"] {
        if let Some(value) = of_target(name) {
            command.env(name, value);
        }
    }
    let output = command
        .args(["--cflags", "libdpdk"])
        .output()
        .unwrap_or_else(|why| refuse("pkg-config does not run", why));
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().map(str::to_owned).collect()
}

/// A variable of the environment as it is meant for what is built, in the order of the pkg-config crate:
/// `NAME_aarch64-unknown-linux-gnu`, the same with underscores, `TARGET_NAME` in a cross build, `NAME`.
fn of_target(name: &str) -> Option<OsString> {
    let (target, host) = (env::var("TARGET").ok()?, env::var("HOST").ok()?);
    let kind = if target == host { "HOST" } else { "TARGET" };
    let names = [
        format!("{name}_{target}"),
        format!("{name}_{}", target.replace('-', "_")),
        format!("{kind}_{name}"),
        name.to_owned(),
    ];
    names.iter().find_map(env::var_os)
}

/// Says where the driver headers are: in DPDK's own include folder (built with
/// `enable_driver_sdk`), else in the cache that `cargo xtask setup` fills.
fn driver_headers(include_paths: &[PathBuf], version: &str) {
    let complete = |folder: &Path| DRIVER_HEADERS.iter().all(|name| folder.join(name).is_file());
    let cache = env::var_os("NIC_AGENT_CACHE").map_or_else(
        || {
            let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
            // This crate lies two folders deep in the repository.
            here.ancestors().nth(2).unwrap_or(&here).join(".cache")
        },
        PathBuf::from,
    );
    let cached = cache.join("dpdk-headers").join(version);
    println!("cargo::rerun-if-changed={}", cached.display());
    match include_paths.iter().chain([&cached]).find(|folder| complete(folder)) {
        Some(folder) => println!("cargo::metadata=DRIVER_INCLUDE={}", folder.display()),
        None => println!(
            "cargo::metadata=DRIVER_MISSING=the driver headers of DPDK {version} are neither installed nor in {}; \
             run `cargo xtask setup`",
            cached.display()
        ),
    }
}

fn compile_shim(cflags: &[String]) {
    let mut build = cc::Build::new();
    build
        .file("shim/dpdk_shim.c")
        .std("gnu11")
        .warnings(true)
        .warnings_into_errors(false)
        .define("ALLOW_EXPERIMENTAL_API", None);
    for flag in cflags {
        build.flag(flag);
    }
    if let Err(why) = build.try_compile("dpdk_shim") {
        refuse("the C shim does not compile against this DPDK", why);
    }
}

fn generate(cflags: &[String]) {
    let mut builder = bindgen::Builder::default()
        .header("shim/dpdk_shim.h")
        .clang_args(cflags)
        .clang_arg("-DALLOW_EXPERIMENTAL_API")
        .use_core()
        .generate_comments(false)
        .layout_tests(false)
        .derive_default(true)
        .prepend_enum_name(false)
        .merge_extern_blocks(true)
        .allowlist_recursively(false);
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in OPAQUE {
        builder = builder.blocklist_type(name).raw_line(format!(
            "#[repr(C)] #[derive(Debug)] pub struct {name} {{ _opaque: [u8; 0], \
             _pinned: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)> }}"
        ));
    }
    let bindings = builder
        .allowlist_var("SHIM_.*")
        .allowlist_var("RTE_FLOW_.*")
        .generate()
        .unwrap_or_else(|why| refuse("bindings could not be generated (is libclang installed?)", why));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("bindings.rs");
    if let Err(why) = bindings.write_to_file(&out) {
        refuse("bindings could not be written", why);
    }
}

/// Exported functions that are called as they are. All others go through the shim.
const FUNCTIONS: &[&str] = &[
    "shim_.*",
    "rte_eal_(init|cleanup|get_runtime_dir)",
    "rte_(strerror|version|socket_id|thread_register|thread_unregister)",
    "rte_pktmbuf_(pool_create|free_bulk|copy)",
    "rte_mempool_(avail_count|in_use_count|lookup|free)",
    "rte_eth_dev_(start|stop|close|is_valid_port|socket_id|set_mtu|get_mtu|count_avail|get_name_by_port|get_port_by_name|default_mac_addr_set)",
    "rte_eth_dev_rx_intr_(enable|disable|ctl_q_get_fd)",
    "rte_eth_(macaddr_get|stats_get|stats_reset|promiscuous_enable|promiscuous_disable|promiscuous_get|allmulticast_enable|allmulticast_disable)",
    "rte_eth_find_next_owned_by",
    "rte_flow_(validate|create|destroy|flush|query|isolate|pick_transfer_proxy|error_set)",
];

/// Public structs whose layout is the same in every supported DPDK, and enums.
const TYPES: &[&str] = &[
    "shim_.*",
    "rte_flow",
    "rte_flow_(attr|item|action|error|query_count)",
    "rte_flow_(item|action|error)_type",
    "rte_flow_item_(ethdev|port_id|icmp6)",
    "rte_flow_action_(count|ethdev|port_id|of_push_vlan|of_set_vlan_vid|of_set_vlan_pcp|set_mac|set_ipv4|set_ipv6|set_tp|set_ttl|vxlan_encap|raw_encap|raw_decap|jump|mark)",
    "rte_eth_stats",
    "rte_eth_representor_type",
    "rte_ether_addr",
    // Part of SET_IPV6 from 24.11 on.
    "rte_ipv6_addr",
    "rte_be(16|32)_t",
    "rte_(mbuf_extbuf|mempool_memchunk)_free_cb",
];

/// Types that cross as pointers only: their layout is DPDK's own business.
const OPAQUE: &[&str] = &["rte_mbuf", "rte_mempool", "rte_flow"];
