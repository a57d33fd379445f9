//! P05.

use gantry_e2e::House;

#[test]
fn p05_nocopy_is_for_every_volume() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.ok(&[
        "run",
        "--name",
        "maker",
        "busybox",
        "sh",
        "-c",
        "mkdir /seed && echo text >/seed/file",
    ]);
    gantry.ok(&["commit", "maker", "seeded:1"]);
    gantry.ok(&["commit", "-c", "VOLUME /seed", "maker", "declared:1"]);
    gantry.ok(&["rm", "maker"]);
    let seen = |image: &str, flags: &[&str]| {
        let mut args = vec!["run", "--rm"];
        args.extend(flags);
        args.extend([image, "ls", "/seed"]);
        gantry.ok(&args)
    };
    for image in ["seeded:1", "declared:1"] {
        for (flags, files) in [
            // Named, as -v and as --mount write it.
            (["-v", "va:/seed:nocopy"], ""),
            (["-v", "vb:/seed"], "file"),
            (["--mount", "type=volume,src=vc,dst=/seed,volume-nocopy"], ""),
            (["--mount", "type=volume,src=vd,dst=/seed,volume-nocopy=false"], "file"),
            // Anonymous.
            (["--mount", "type=volume,dst=/seed,volume-nocopy"], ""),
            (["--mount", "type=volume,dst=/seed,volume-nocopy=true"], ""),
            (["--mount", "type=volume,dst=/seed"], "file"),
            (["-v", "/seed"], "file"),
        ] {
            assert_eq!(seen(image, &flags), files, "{image} {flags:?}");
        }
        gantry.ok(&["volume", "rm", "va", "vb", "vc", "vd"]);
    }
    assert_eq!(gantry.ok(&["volume", "ls", "-q"]), "", "anonymous ones go with --rm");
    // It is said of a container that is there, and a volume that was not filled is filled by who does not say so.
    gantry.ok(&[
        "create",
        "--name",
        "box",
        "--mount",
        "type=volume,src=ve,dst=/seed,volume-nocopy",
        "seeded:1",
        "true",
    ]);
    let told = gantry.ok(&[
        "inspect",
        "-f",
        "{{(index .HostConfig.Mounts 0).VolumeOptions.NoCopy}}",
        "box",
    ]);
    assert_eq!(told, "true");
    gantry.ok(&["start", "-a", "box"]);
    assert_eq!(seen("seeded:1", &["-v", "ve:/seed:nocopy"]), "");
    gantry.ok(&["rm", "box"]);
    assert_eq!(seen("seeded:1", &["-v", "ve:/seed"]), "file");
    gantry.ok(&["volume", "rm", "ve"]);
}
