//! Commands of networks.

use super::{BASE, FILTER, FORMAT};
use crate::cli::flag::Takes::{Address, Bool, Filter, Int, Label, Link, List, Map, Text};
use crate::cli::flag::{Flag, flag, long, unbuilt, unbuilt_switch};
use crate::cli::verb::Arity::{AtLeast, Exactly};
use crate::cli::verb::Verb;
use crate::cmd;

/// What all of them have in common.
const NETWORK: Verb = Verb {
    top: false,
    group: "network",
    ..BASE
};

const CREATE: &[Flag] = &[
    long("attachable", Bool(false), "Enable manual container attachment"),
    long(
        "aux-address",
        Map,
        "Auxiliary IPv4 or IPv6 addresses used by Network driver",
    ),
    flag("driver", 'd', Text, "Driver to manage the Network").default("\"bridge\""),
    long("gateway", List, "IPv4 or IPv6 Gateway for the master subnet"),
    long("internal", Bool(false), "Restrict external access to the network"),
    long("ip-range", List, "Allocate container ip from a sub-range"),
    long("ipam-driver", Text, "IP Address Management Driver").default("\"default\""),
    long("ipam-opt", Map, "Set IPAM driver specific options"),
    long("ipv4", Bool(true), "Enable or disable IPv4 address assignment").default("true"),
    long("ipv6", Bool(false), "Enable or disable IPv6 address assignment"),
    long("label", Label, "Set metadata on a network"),
    flag("opt", 'o', Map, "Set driver specific options"),
    long(
        "subnet",
        List,
        "Subnet in CIDR format that represents a network segment",
    ),
    unbuilt("config-from"),
    unbuilt_switch("config-only"),
    unbuilt_switch("ingress"),
    unbuilt("scope"),
];

const CONNECT: &[Flag] = &[
    long("alias", List, "Add network-scoped alias for the container"),
    long("driver-opt", List, "driver options for the network"),
    long(
        "gw-priority",
        Int,
        "Highest gw-priority provides the default gateway. Accepts positive and negative values",
    ),
    long("ip", Text, "IPv4 address (e.g., \"172.30.100.104\")"),
    long("ip6", Text, "IPv6 address (e.g., \"2001:db8::33\")"),
    long("link", Link, "Add link to another container"),
    long("link-local-ip", Address, "Add a link-local address for the container"),
];

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "network connect",
        names: &["connect"],
        about: "Connect a container to a network",
        usage: &["[OPTIONS] NETWORK CONTAINER"],
        examples: &[
            "gantry network connect back web",
            "gantry network connect --ip 172.30.0.9 --alias api back web",
        ],
        arity: Exactly(2),
        flags: &[CONNECT],
        run: |daemon, parsed| Box::pin(cmd::network::connect(daemon, parsed)),
        ..NETWORK
    },
    Verb {
        name: "network create",
        names: &["create"],
        about: "Create a network",
        usage: &["[OPTIONS] NETWORK"],
        examples: &[
            "gantry network create back",
            "gantry network create --subnet 172.30.0.0/16 --gateway 172.30.0.1 --internal back",
            "gantry network create --ipv6 --subnet fd00:30::/64 -o com.docker.network.bridge.name=br-six six",
            "gantry network create -d macvlan --subnet 192.168.1.0/24 -o parent=eth0 lan",
            "gantry network create -d overlay --attachable hosts",
            "gantry network create -d cni -o gantry.cni.name=mynet plugged",
        ],
        arity: Exactly(1),
        flags: &[CREATE],
        run: |daemon, parsed| Box::pin(cmd::network::create(daemon, parsed)),
        ..NETWORK
    },
    Verb {
        name: "network disconnect",
        names: &["disconnect"],
        about: "Disconnect a container from a network",
        usage: &["[OPTIONS] NETWORK CONTAINER"],
        examples: &["gantry network disconnect back web"],
        arity: Exactly(2),
        flags: &[&[flag(
            "force",
            'f',
            Bool(false),
            "Force the container to disconnect from a network",
        )]],
        run: |daemon, parsed| Box::pin(cmd::network::disconnect(daemon, parsed)),
        ..NETWORK
    },
    Verb {
        name: "network inspect",
        names: &["inspect"],
        about: "Display detailed information on one or more networks",
        usage: &["[OPTIONS] NETWORK [NETWORK...]"],
        examples: &[
            "gantry network inspect back",
            "gantry network inspect -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}' bridge",
        ],
        arity: AtLeast(1),
        flags: &[&[
            flag(
                "format",
                'f',
                Text,
                "Format output using a custom template: 'json', or a Go TEMPLATE",
            ),
            flag("verbose", 'v', Bool(false), "Verbose output for diagnostics"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::inspect::networks(daemon, parsed)),
        ..NETWORK
    },
    Verb {
        name: "network ls",
        names: &["ls", "list"],
        about: "List networks",
        usage: &["[OPTIONS]"],
        examples: &[
            "gantry network ls",
            "gantry network ls -q --filter driver=bridge",
            "gantry network ls --format '{{.Name}}: {{.Driver}}'",
        ],
        flags: &[&[
            FILTER,
            FORMAT,
            long("no-trunc", Bool(false), "Do not truncate the output"),
            flag("quiet", 'q', Bool(false), "Only display network IDs"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::network::list(daemon, parsed)),
        ..NETWORK
    },
    Verb {
        name: "network prune",
        names: &["prune"],
        about: "Remove all unused networks",
        usage: &["[OPTIONS]"],
        examples: &["gantry network prune -f --filter until=24h"],
        flags: &[&[
            long("filter", Filter, "Provide filter values (e.g. \"until=<timestamp>\")"),
            flag("force", 'f', Bool(false), "Do not prompt for confirmation"),
        ]],
        run: |daemon, parsed| Box::pin(cmd::network::prune(daemon, parsed)),
        ..NETWORK
    },
    Verb {
        name: "network rm",
        names: &["rm", "remove"],
        about: "Remove one or more networks",
        usage: &["NETWORK [NETWORK...]"],
        examples: &["gantry network rm back front"],
        arity: AtLeast(1),
        flags: &[&[flag(
            "force",
            'f',
            Bool(false),
            "Do not error if the network does not exist",
        )]],
        run: |daemon, parsed| Box::pin(cmd::network::remove(daemon, parsed)),
        ..NETWORK
    },
];
