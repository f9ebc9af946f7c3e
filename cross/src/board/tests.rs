use proptest::prelude::*;

use super::*;

fn boards() -> Boards {
    Boards::built_in().expect("the committed table is right")
}

#[test]
fn the_committed_table_has_the_boards_that_there_are() {
    let boards = boards();
    let rows: Vec<(&str, &str, u16, Vec<ImageKind>)> = boards
        .iter()
        .map(|board| (board.name.as_str(), board.cpu.as_str(), board.cores.count, board.images.clone()))
        .collect();
    use ImageKind::{Bfb, Bundle, Disk, Fit};
    let expected = [
        ("bluefield2", "cortex-a72", 8, vec![Disk, Bundle, Bfb]),
        ("bluefield3", "cortex-a78", 16, vec![Disk, Bundle, Bfb]),
        ("generic", "generic", 2, vec![Disk, Bundle]),
        ("stingray", "cortex-a72", 8, vec![Bundle, Fit]),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn the_command_line_of_each_board_is_what_its_boot_loader_is_given() {
    let boards = boards();
    let line = |name| boards.get(name).expect("it is there").command_line().join(" ");
    let expected = [
        (
            "bluefield2",
            "console=ttyAMA1 console=hvc0 console=ttyAMA0 earlycon=pl011,0x01000000 earlycon=pl011,0x01800000 \
             hugepagesz=2M hugepages=256 isolcpus=6,7 nohz_full=6,7 rcu_nocbs=6,7 iommu.passthrough=1",
        ),
        (
            "bluefield3",
            "console=hvc0 console=ttyAMA0 earlycon=pl011,0x13010000 hugepagesz=2M hugepages=512 isolcpus=14,15 \
             nohz_full=14,15 rcu_nocbs=14,15 iommu.passthrough=1",
        ),
        (
            "stingray",
            "console=ttyS0,115200 earlycon=uart8250,mmio32,0x68A10000 hugepagesz=2M hugepages=256 isolcpus=6,7 \
             nohz_full=6,7 rcu_nocbs=6,7",
        ),
        ("generic", "console=ttyAMA0,115200 hugepagesz=2M hugepages=64 isolcpus=1 nohz_full=1 rcu_nocbs=1"),
    ];
    for (name, expected) in expected {
        assert_eq!(line(name), expected, "{name}");
    }
}

#[test]
fn packages_of_drivers_are_named_as_debian_names_them() {
    let boards = boards();
    let packages = boards.get("bluefield2").expect("it is there").driver_packages();
    assert!(packages.contains(&"librte-net-mlx5-23".to_owned()), "{packages:?}");
    assert!(packages.contains(&"librte-bus-pci23".to_owned()), "{packages:?}");
}

#[test]
fn a_board_that_is_not_there_is_refused_with_those_that_are() {
    let error = boards().get("bluefield4").expect_err("there is none").to_string();
    assert_eq!(
        error,
        "there is no board \"bluefield4\"; there are bluefield2, bluefield3, generic, stingray"
    );
}

/// A table of one board, with one line replaced.
fn table_with(line: &str, by: &str) -> String {
    let text = "\
dpdk-abi = \"23\"
[boards.card]
title = \"A card\"
cpu = \"generic\"
drivers = [\"net_mlx5\"]
console = [\"ttyAMA0\"]
earlycon = []
boot-arguments = []
devices.pci = []
devices.vdev = []
hugepages = { size = \"2M\", count = 1 }
cores = { count = 2, datapath = [1] }
images = [\"disk\"]
";
    assert!(text.contains(line), "{line}");
    text.replacen(line, by, 1)
}

#[test]
fn the_table_of_the_tests_is_right_as_it_is() {
    Boards::parse(&table_with("", "")).expect("only what is replaced is wrong");
}

#[test]
fn every_field_that_cannot_be_is_refused_by_board_and_field() {
    for (line, by, expected) in [
        (
            "[boards.card]",
            "[boards.Card-1]",
            "board Card-1: name: a name has lower-case letters and digits only",
        ),
        ("\"23\"", "\"x\"", "board card: dpdk-abi: it is a number"),
        ("\"A card\"", "\" \"", "board card: title: it is empty"),
        ("\"generic\"", "\"pentium\"", "board card: cpu: \"pentium\" is none of generic, cortex-a72"),
        ("[\"net_mlx5\"]", "[]", "board card: drivers: it is empty"),
        ("[\"net_mlx5\"]", "[\"mlx5\"]", "board card: drivers: \"mlx5\" is no driver"),
        ("[\"net_mlx5\"]", "[\"net_\"]", "board card: drivers: \"net_\" is no driver"),
        ("[\"net_mlx5\"]", "[\"net_a\", \"net_a\"]", "board card: drivers: \"net_a\" stands there twice"),
        ("[\"ttyAMA0\"]", "[]", "board card: console: it is empty"),
        ("[\"ttyAMA0\"]", "[\"lp0\"]", "board card: console: \"lp0\" is no console"),
        ("[\"ttyAMA0\"]", "[\"tty S0\"]", "board card: console: \"tty S0\" is not one word"),
        ("earlycon = []", "earlycon = [\"a b\"]", "board card: earlycon: \"a b\" is not one word"),
        (
            "boot-arguments = []",
            "boot-arguments = [\"a=$b\"]",
            "board card: boot-arguments: \"a=$b\" is not one",
        ),
        (
            "boot-arguments = []",
            "boot-arguments = [\"console=x\"]",
            "card: boot-arguments: \"console=x\" is set else",
        ),
        (
            "boot-arguments = []",
            "boot-arguments = [\"nic.verity=\"]",
            "boot-arguments: \"nic.verity=\" is set else",
        ),
        ("pci = []", "pci = [\"03:00.0\"]", "board card: devices.pci: \"03:00.0\" does not begin with a PCI"),
        (
            "vdev = []",
            "vdev = [\"eswitch\"]",
            "board card: devices.vdev: \"eswitch\" does not begin with a driver",
        ),
        ("count = 1 }", "count = 0 }", "board card: hugepages.count: 0 is not between 1 and 65536"),
        ("count = 2", "count = 0", "board card: cores.count: 0 is not between 1 and 256"),
        ("datapath = [1]", "datapath = []", "board card: cores.datapath: it is empty"),
        ("datapath = [1]", "datapath = [0]", "board card: cores.datapath: core 0 cannot be kept free"),
        ("datapath = [1]", "datapath = [2]", "board card: cores.datapath: there is no core 2"),
        ("datapath = [1]", "datapath = [1, 1]", "board card: cores.datapath: there is no core 1, or"),
        ("[\"disk\"]", "[]", "board card: images: it is empty"),
        ("[\"disk\"]", "[\"disk\", \"disk\"]", "board card: images: \"Disk\" stands there twice"),
        ("[\"disk\"]", "[\"bfb\"]", "board card: install: it is empty"),
        (
            "[\"disk\"]",
            "[\"bfb\"]\ninstall = [\"/dev/sda\"]",
            "board card: install: \"/dev/sda\" is no disk such as mmcblk0 or nvme0n1",
        ),
        ("[\"disk\"]", "[\"tape\"]", "boards.card.images[0]: unknown variant `tape`"),
        ("\"2M\"", "\"3M\"", "boards.card.hugepages.size: unknown variant `3M`"),
        ("count = 2", "count = -1", "boards.card.cores.count: invalid value: integer `-1`"),
        ("cpu = \"generic\"", "", "boards.card: missing field `cpu`"),
        ("earlycon", "early-con", "boards.card.early-con: unknown field `early-con`"),
        ("cpu = ", "cpu = = ", "line 4: "),
    ] {
        let error = Boards::parse(&table_with(line, by)).expect_err(by).to_string();
        assert!(error.contains(expected), "{by}: {error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fall_over(text in "\\PC{0,200}", line in 0..13_usize) {
        let mut lines: Vec<String> = table_with("", "").lines().map(str::to_owned).collect();
        lines[line] = text;
        // Right or wrong, but an answer.
        let _ = Boards::parse(&lines.join("\n"));
    }
}
