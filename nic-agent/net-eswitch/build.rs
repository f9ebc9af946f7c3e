//! Compiles the C side of the driver against the driver headers of the installed DPDK.

use std::env;
use std::path::PathBuf;
use std::process::exit;

fn refuse(why: &str) -> ! {
    println!("cargo::error={why}");
    exit(1)
}

fn main() {
    for file in ["net_eswitch_shim.h", "net_eswitch_shim.c", "mbuf.c", "load.c"] {
        println!("cargo::rerun-if-changed=shim/{file}");
    }
    let Some(cflags) = env::var("DEP_DPDK_CFLAGS").ok() else {
        refuse("dpdk-sys did not say how to compile against DPDK; run `cargo xtask setup`")
    };
    let Some(headers) = env::var_os("DEP_DPDK_DRIVER_INCLUDE").map(PathBuf::from) else {
        let missing = env::var("DEP_DPDK_DRIVER_MISSING").unwrap_or_else(|_| {
            "the driver headers of the installed DPDK were not found; run `cargo xtask setup`".into()
        });
        refuse(&missing)
    };
    let prepared = || {
        let mut build = cc::Build::new();
        build
            .std("gnu11")
            .warnings(true)
            .include(&headers)
            .define("ALLOW_INTERNAL_API", None)
            .define("ALLOW_EXPERIMENTAL_API", None);
        for flag in cflags.split_whitespace() {
            build.flag(flag);
        }
        build
    };
    if let Err(why) =
        prepared().files(["shim/net_eswitch_shim.c", "shim/mbuf.c"]).try_compile("net_eswitch_shim")
    {
        refuse(&format!("the C side of net_eswitch does not compile against this DPDK: {why}"));
    }
    // An object on the link line of the loadable driver alone: what links the crate as a
    // library must register by itself, before EAL starts.
    match prepared().file("shim/load.c").try_compile_intermediates() {
        Ok(objects) => {
            for object in objects {
                println!("cargo::rustc-link-arg-cdylib={}", object.display());
            }
        }
        Err(why) => refuse(&format!("the constructor of net_eswitch does not compile: {why}")),
    }
    // Drivers and their buses are plug-ins to pkg-config, and not on its list of libraries.
    println!("cargo::rustc-link-lib=rte_bus_vdev");
    bind();
}

fn bind() {
    let bindings = bindgen::Builder::default()
        .header("shim/net_eswitch_shim.h")
        .use_core()
        .generate_comments(false)
        .layout_tests(false)
        .allowlist_function("nes_.*")
        .allowlist_var("NES_.*")
        // The types of rte_flow are those of dpdk-sys, so that one set of layouts serves all.
        .blocklist_type("rte_.*")
        .raw_line(
            "use dpdk_sys::{rte_flow, rte_flow_action, rte_flow_attr, rte_flow_error, rte_flow_item, \
             rte_mbuf, rte_mempool};",
        )
        .generate();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("shim.rs");
    let written =
        bindings.map_err(|why| why.to_string()).and_then(|b| b.write_to_file(out).map_err(|e| e.to_string()));
    if let Err(why) = written {
        refuse(&format!("bindings could not be generated ({why}); run `cargo xtask setup`"));
    }
}
