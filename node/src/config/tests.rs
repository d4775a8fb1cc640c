mod exposure;

use std::path::Path;

use proptest::prelude::*;

use super::*;

const MESH: &str = r#"
[cluster]
name = "mesh-1"
topology = "mesh"
[[nodes]]
name = "n1"
links = "127.0.0.1:7101"
http = "127.0.0.1:7201"
"#;

fn parse(text: &str) -> Result<ClusterConfig, ConfigError> {
    ClusterConfig::parse(Path::new("c.toml"), text)
}

/// The file must be refused with exactly this line.
fn refused(text: &str, line: &str) {
    let error = parse(text).expect_err(text).to_string();
    assert_eq!(error, line);
    assert!(!error.contains('\n'));
}

fn refused_with(addition: &str, line: &str) {
    refused(&format!("{MESH}{addition}"), line);
}

fn refused_instead_of(old: &str, new: &str, line: &str) {
    assert!(MESH.contains(old));
    refused(&MESH.replace(old, new), line);
}

#[test]
fn what_the_file_does_not_say_has_its_default() {
    let config = parse(MESH).unwrap();
    assert_eq!((config.limits, config.rounds), (Limits::default(), Rounds::default()));
    assert_eq!(config.consensus, Consensus::default());
    assert_eq!(
        config.to_string(),
        "mesh-1: mesh of 1 node, heartbeat 250 ms, election 1000 to 2000 ms"
    );
}

#[test]
fn a_file_has_pools_and_nodes_have_labels() {
    let text = format!(
        "{MESH}labels = {{ gpu = \"yes\" }}\n[[pools]]\nname = \"builders\"\nbehaviour = \"exec\"\nmax = 8\nidle_s = 2\n\
         kinds = [\"b\", \"a\"]\narguments = {{ command = [\"true\"] }}\n\
         recycle = {{ memory = \"2 GiB\", age_s = 1.5, after_tasks = 7 }}\n"
    );
    let config = parse(&text).unwrap();
    assert_eq!(config.nodes[0].labels["gpu"], "yes");
    let pool = &config.pools[0];
    let settings = &pool.settings;
    assert_eq!(
        (pool.name.as_str(), settings.max, settings.idle_ms),
        ("builders", 8, 2_000)
    );
    assert_eq!(settings.kinds, ["a".into(), "b".into()]);
    assert_eq!(&*settings.arguments, r#"{"command":["true"]}"#);
    let recycle = settings.recycle;
    assert_eq!((recycle.memory_bytes, recycle.age_ms), (Some(2 << 30), Some(1_500)));
    assert_eq!(parse(&config.to_toml()).unwrap(), config);
}

#[test]
fn a_pool_that_cannot_be_is_refused_by_key_value_and_bound() {
    let pool = |fields: &str| format!("[[pools]]\nname = \"p\"\nbehaviour = \"exec\"\n{fields}\n");
    refused_with(&pool("max = 0"), "c.toml: pools[0].max: 0 is under the least, 1");
    refused_with(
        &pool("max = 10001"),
        "c.toml: pools[0].max: 10001 is over the limit of 10000",
    );
    refused_with(
        &pool("max = -1"),
        "c.toml: pools[0].max: -1 is out of range (0 to 4294967295)",
    );
    refused_with(
        &pool("max = 1\narguments = { slots = 2 }"),
        "c.toml: pools[0].arguments: have slots, which the pool says itself",
    );
    refused_with(
        &pool("max = 1\nrecycle = { memory = \"2 GB\" }"),
        "c.toml: pools[0].recycle.memory: \"2 GB\" is no size (a number and B, KiB, MiB or GiB)",
    );
    refused_with(
        &[pool("max = 1"), pool("max = 1")].concat(),
        "c.toml: pools[1].name: \"p\" is also pools[0].name (names are unique)",
    );
    refused_with(
        "[[pools]]\nname = \"p\"\nbehaviour = \"load-echo\"\nmax = 1",
        "c.toml: pools[0].behaviour: \"load-echo\" agents stand in no pool (exec, http)",
    );
    refused_with(
        "labels = { node = \"x\" }",
        "c.toml: nodes[0].labels: \"node\" = \"x\" every node has this label: its name",
    );
}

#[test]
fn sizes_are_integers_or_text_with_a_unit() {
    let config = parse(&format!(
        "{MESH}[limits]\nvalue_bytes = 4096\nround_bytes = \"2 MiB\"\nhttp_body_bytes = \"16384KiB\""
    ))
    .unwrap();
    assert_eq!(
        (
            config.limits.value_bytes,
            config.limits.round_bytes,
            config.limits.http_body_bytes
        ),
        (4096, 2 << 20, 16 << 20)
    );
}

#[test]
fn a_syntax_error_names_line_and_column() {
    refused(
        "[cluster]\nname = \"a\" b",
        "c.toml:2:12: unexpected key or value, expected newline, `#`",
    );
    refused("[cluster\n", "c.toml:1:9: unclosed table, expected `]`");
    refused("[cluster]\nname = \"a\"\nname = \"b\"", "c.toml:3:1: duplicate key");
}

#[test]
fn an_unknown_key_names_its_section_and_the_key_meant() {
    refused_with(
        "[limits]\nvalue_byte = 1",
        "c.toml: unknown key \"value_byte\" in [limits] (did you mean \"value_bytes\"?)",
    );
    refused_with(
        "link = 3",
        "c.toml: unknown key \"link\" in nodes[0] (did you mean \"links\"?)",
    );
    refused_with(
        "port = 3",
        "c.toml: unknown key \"port\" in nodes[0] (known: name, links, http, advertise_links, advertise_http, labels)",
    );
    refused_with(
        "[limit]",
        "c.toml: unknown key \"limit\" in the file (did you mean \"limits\"?)",
    );
    refused_instead_of(
        "topology =",
        "topologie =",
        "c.toml: unknown key \"topologie\" in [cluster] (did you mean \"topology\"?)",
    );
}

#[test]
fn a_missing_key_or_a_wrong_type_names_the_key() {
    refused("", "c.toml: cluster: missing");
    refused_instead_of("http = \"127.0.0.1:7201\"", "", "c.toml: nodes[0].http: missing");
    refused_instead_of(
        "\"n1\"",
        "1",
        "c.toml: nodes[0].name: invalid type: integer `1`, expected a string",
    );
    refused_with(
        "[consensus]\nheartbeat_ms = \"fast\"",
        "c.toml: consensus.heartbeat_ms: invalid type: string \"fast\", expected an integer",
    );
    refused_with(
        "[consensus]\nelection_ms = [1000]",
        "c.toml: consensus.election_ms: invalid length 1, expected an array of length 2",
    );
    refused_with(
        "[limits]\nvalue_bytes = 1.5",
        "c.toml: limits.value_bytes: invalid type: floating point `1.5`, expected a number of bytes, such as 8388608 or \"8 MiB\"",
    );
    refused(
        "cluster = 3",
        "c.toml: cluster: invalid type: integer `3`, expected a section",
    );
}

#[test]
fn an_address_is_a_host_and_a_port() {
    let links = |text: &str, line: &str| {
        refused_instead_of("\"127.0.0.1:7101\"", text, &format!("c.toml: nodes[0].links: {line}"))
    };
    links("\"10.0.0.3\"", "\"10.0.0.3\" has no port (expected host:port)");
    links("\"::1\"", "\"::1\" has no port (expected host:port)");
    links("\":80\"", "\":80\" has no host (expected host:port)");
    links("\"127.0.0.1:0\"", "\"127.0.0.1:0\" has no usable port (1 to 65535)");
    links(
        "\"127.0.0.1:70000\"",
        "\"127.0.0.1:70000\" has no usable port (1 to 65535)",
    );
    let named =
        "is not an address to listen on (an IP address of the host; names go into advertise_links and advertise_http)";
    links("\"example.org:7101\"", &format!("\"example.org:7101\" {named}"));
    links(
        "\"0.0.0.0:7101\"",
        "\"0.0.0.0:7101\" is every address of its host; say in advertise_links what others dial",
    );
    for fine in ["localhost:1", "[::1]:7101", "127.1.2.3:65535", "10.0.0.3:7101"] {
        parse(&MESH.replace("127.0.0.1:7101", fine)).expect(fine);
    }
}

const TLS: &str = "[tls]\ndir = \"certificates\"\n";
const TOKENS: &str = "[doors]\nauth = \"token\"\n";

#[test]
fn others_dial_what_is_advertised() {
    let everywhere = MESH.replace("127.0.0.1:7101", "0.0.0.0:7101");
    let config = parse(&format!("{everywhere}advertise_links = \"n1.example.org:9\"")).unwrap();
    assert_eq!(config.nodes[0].links_advertised(), "n1.example.org:9");
    assert_eq!(config.nodes[0].http_advertised(), "127.0.0.1:7201");
    let advertised = |text: &str, line: &str| {
        refused_with(
            &format!("advertise_http = {text:?}"),
            &format!("c.toml: nodes[0].advertise_http: {text:?} {line}"),
        )
    };
    advertised("n1", "has no port (expected host:port)");
    advertised("n1:0", "has no usable port (1 to 65535)");
    advertised("[::]:1", "is no address that others can dial");
    advertised("http://n1:1", "has no port (expected host:port)");
    advertised("n1/x:1", "has no host that can be dialled (a name or an IP address)");
    let second = "advertise_http = \"a:1\"\n[[nodes]]\nname = \"n2\"\nlinks = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\n\
                  advertise_links = \"a:1\"";
    refused_with(
        second,
        "c.toml: nodes[1].advertise_links: \"a:1\" is also nodes[0].advertise_http (each address leads to one listener)",
    );
}

#[test]
fn agents_run_commands_unless_the_file_says_no() {
    let config = |more: &str| parse(&format!("{MESH}{more}")).unwrap();
    assert!(config("").agent_commands);
    assert!(!config("[agents]\ncommands = false\n").agent_commands);
}

#[test]
fn certificates_lie_beside_the_file_and_doors_say_who_may_come_in() {
    let config = ClusterConfig::parse(Path::new("/etc/queenright/c.toml"), &format!("{MESH}{TLS}{TOKENS}")).unwrap();
    assert_eq!(config.tls.as_deref(), Some(Path::new("/etc/queenright/certificates")));
    assert_eq!(config.auth, Auth::Token);
    let plain = parse(MESH).unwrap();
    assert_eq!((plain.tls, plain.auth), (None, Auth::None));
    refused_with("[tls]", "c.toml: tls.dir: missing");
    refused_with("[tls]\ndir = \"\"", "c.toml: tls.dir: \"\" names no folder");
    refused_with(
        "[doors]\nauth = \"tokens\"",
        "c.toml: doors.auth: \"tokens\" is no way to let callers in (none, token; did you mean \"token\"?)",
    );
}

#[test]
fn names_and_addresses_are_distinct() {
    let second = "[[nodes]]\nname = \"n2\"\nlinks = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\n";
    parse(&format!("{MESH}{second}")).unwrap();
    refused_with(
        &second.replace("n2", "n1"),
        "c.toml: nodes[1].name: \"n1\" is also nodes[0].name (names are unique)",
    );
    refused_with(
        &second.replace("127.0.0.1:2", "localhost:7101"),
        "c.toml: nodes[1].http: \"127.0.0.1:7101\" is also nodes[0].links (each address has one listener)",
    );
}

#[test]
fn names_are_safe_as_folders() {
    refused_instead_of(
        "mesh-1",
        "../x",
        "c.toml: cluster.name: \"../x\" has '.' (only a to z, 0 to 9 and - are allowed)",
    );
    refused_instead_of("mesh-1", "", "c.toml: cluster.name: \"\" has 0 characters (1 to 40)");
    refused_instead_of(
        "\"n1\"",
        "\"-n\"",
        "c.toml: nodes[0].name: \"-n\" begins with - (it would read as an option)",
    );
    refused_instead_of(
        "\"n1\"",
        "\"logs\"",
        "c.toml: nodes[0].name: \"logs\" is taken by a folder of the program itself",
    );
}

#[test]
fn there_are_1_to_64_nodes() {
    let node = |n: usize| {
        let (links, http) = (10_000 + n, 20_000 + n);
        format!("[[nodes]]\nname = \"n{n}\"\nlinks = \"127.0.0.1:{links}\"\nhttp = \"127.0.0.1:{http}\"\n")
    };
    let head = "[cluster]\nname = \"c\"\ntopology = \"mesh\"\n";
    let cluster = |n: usize| format!("{head}{}", (0..n).map(node).collect::<String>());
    parse(&cluster(64)).unwrap();
    refused(&cluster(65), "c.toml: nodes: 65 nodes are listed (1 to 64)");
    refused(
        &format!("nodes = []\n{head}"),
        "c.toml: nodes: 0 nodes are listed (1 to 64)",
    );
}

#[test]
fn elections_wait_for_several_heartbeats() {
    let timing =
        |text: &str, line: &str| refused_with(&format!("[consensus]\n{text}"), &format!("c.toml: consensus.{line}"));
    timing("heartbeat_ms = 10", "heartbeat_ms: 10 is out of range (20 to 5000)");
    timing("heartbeat_ms = -1", "heartbeat_ms: -1 is out of range (20 to 5000)");
    let why = "(3 × consensus.heartbeat_ms, so that one lost heartbeat elects nobody)";
    timing(
        "heartbeat_ms = 500",
        &format!("election_ms[0]: 1000 is below 1500 {why}"),
    );
    timing(
        "election_ms = [1000, 1000]",
        "election_ms[1]: 1000 is not above election_ms[0] = 1000",
    );
    timing("election_ms = [1000, 60001]", "election_ms[1]: 60001 is above 60000");
}

#[test]
fn limits_have_bounds_and_fit_each_other() {
    let limit = |text: &str, line: &str| refused_with(&format!("[limits]\n{text}"), &format!("c.toml: limits.{line}"));
    limit(
        "value_bytes = 10",
        "value_bytes: 10 is out of range (1024 to 8388608 bytes)",
    );
    limit(
        "value_bytes = \"1 GiB\"",
        "value_bytes: \"1 GiB\" is out of range (1024 to 8388608 bytes)",
    );
    limit(
        "value_bytes = \"8 MB\"",
        "value_bytes: \"8 MB\" is no size (a number and B, KiB, MiB or GiB)",
    );
    limit("rounds_in_flight = 0", "rounds_in_flight: 0 is out of range (1 to 64)");
    refused_with(
        "[rounds]\nmax = 0",
        "c.toml: rounds.max: 0 is out of range (1 to 65536)",
    );
    limit(
        "command_bytes = \"17 MiB\"",
        "command_bytes: \"17 MiB\" is out of range (4096 to 16777216 bytes)",
    );
    limit(
        "round_bytes = \"17 MiB\"",
        "round_bytes: \"17 MiB\" is out of range (4096 to 16777216 bytes)",
    );
    limit(
        "disk_watermark_bytes = 0",
        "disk_watermark_bytes: 0 is out of range (1048576 to 1099511627776 bytes)",
    );
    limit(
        "ballast_bytes = \"65 GiB\"",
        "ballast_bytes: \"65 GiB\" is out of range (0 to 68719476736 bytes)",
    );
    limit(
        "command_bytes = \"4 MiB\"",
        "value_bytes: 8388608 is above limits.command_bytes = 4194304, so that none of that size could pass",
    );
}

#[test]
fn tracing_follows_a_part_and_tells_a_collector_by_http_alone() {
    let tracing =
        |text: &str, line: &str| refused_with(&format!("[tracing]\n{text}"), &format!("c.toml: tracing.{line}"));
    tracing("ratio = 1.5", "ratio: 1.5 is out of range (0 to 1)");
    tracing("ratio = -1", "ratio: -1 is out of range (0 to 1)");
    tracing("ratio = nan", "ratio: NaN is out of range (0 to 1)");
    tracing(
        "otlp = \"127.0.0.1\"",
        "otlp: \"127.0.0.1\" is no URL: relative URL without a base",
    );
    tracing(
        "otlp = \"grpc://127.0.0.1:4317\"",
        "otlp: \"grpc://127.0.0.1:4317\" is neither http nor https (OTLP goes by HTTP here)",
    );
    tracing(
        "otlp = \"https://me:secret@traces.example\"",
        "otlp: (not shown) has a user or a password, which would stand in the file",
    );
    let read = |text: &str| {
        let config = parse(&format!("{MESH}[tracing]\n{text}")).unwrap();
        (config.tracing.ratio, config.tracing.otlp.map(|url| url.to_string()))
    };
    assert_eq!(read(""), (0.01, None));
    assert_eq!(
        read("ratio = 1\notlp = \"http://127.0.0.1:4318\""),
        (1.0, Some("http://127.0.0.1:4318/v1/traces".to_owned()))
    );
    assert_eq!(
        read("otlp = \"https://traces.example/otlp/v1/traces\"").1.as_deref(),
        Some("https://traces.example/otlp/v1/traces")
    );
}

#[test]
fn what_is_kept_of_the_log_has_bounds() {
    let log = |text: &str, line: &str| refused_with(&format!("[log]\n{text}"), &format!("c.toml: log.{line}"));
    log(
        "snapshot_bytes = 65535",
        "snapshot_bytes: 65535 is out of range (65536 to 68719476736 bytes)",
    );
    log(
        "keep_bytes = \"1 KiB\"",
        "keep_bytes: \"1 KiB\" is out of range (65536 to 68719476736 bytes)",
    );
    log(
        "snapshot_every_s = 0",
        "snapshot_every_s: 0 is out of range (1 to 86400)",
    );
    log(
        "sent_bytes_per_s = \"1 KiB\"",
        "sent_bytes_per_s: \"1 KiB\" is out of range (1048576 to 68719476736 bytes)",
    );
    let config = parse(&format!(
        "{MESH}[log]\nsnapshot_bytes = \"1 MiB\"\nsnapshot_every_s = 5"
    ))
    .unwrap();
    let expected = Log {
        snapshot_bytes: 1 << 20,
        snapshot_every: Duration::from_secs(5),
        ..Log::default()
    };
    assert_eq!(config.log, expected);
}

#[test]
fn topologies_are_named() {
    refused_instead_of(
        "\"mesh\"",
        "\"starr\"",
        "c.toml: cluster.topology: \"starr\" is no topology (mesh, star, ring, hierarchical; did you mean \"star\"?)",
    );
    refused_instead_of(
        "\"mesh\"",
        "\"ring\"\nfan_out = 2",
        "c.toml: cluster.fan_out: 2 means nothing for ring (only hierarchical)",
    );
    let tree = parse(&MESH.replace("\"mesh\"", "\"hierarchical\"\nfan_out = 3")).unwrap();
    assert_eq!(tree.topology, Topology::Hierarchical { fan_out: 3 });
}

#[test]
fn three_or_five_nodes_vote_and_no_more_than_there_are() {
    assert_eq!(parse(MESH).unwrap().consensus.voters, None);
    refused_with(
        "[consensus]\nvoters = 4",
        "c.toml: consensus.voters: 4 is no number of voters (3 or 5)",
    );
    refused_with(
        "[consensus]\nvoters = 3",
        "c.toml: consensus.voters: 3 is above the number of nodes, 1",
    );
    let node = |number: u32| {
        format!(
            "[[nodes]]\nname = \"m{number}\"\nlinks = \"127.0.0.1:{}\"\nhttp = \"127.0.0.1:{}\"\n",
            8_000 + number,
            9_000 + number
        )
    };
    let five: String = (1..5).map(node).collect();
    let config = parse(&format!("{MESH}{five}[consensus]\nvoters = 3")).unwrap();
    assert_eq!(config.consensus.voters, Some(3));
}

#[test]
fn envelopes_leave_as_they_are_unless_the_file_says_otherwise() {
    assert_eq!(parse(MESH).unwrap().compression, Compression::Off);
    let small = parse(&format!("{MESH}[links]\ncompression = \"lz4\"")).unwrap();
    assert_eq!(small.compression, Compression::Lz4);
    refused_with(
        "[links]\ncompression = \"zstd\"",
        "c.toml: links.compression: \"zstd\" is no compression (off, lz4)",
    );
}

#[test]
fn consensus_goes_over_links_of_its_own_unless_the_file_says_otherwise() {
    assert_eq!(parse(MESH).unwrap().consensus.links, ControlLinks::Direct);
    let routed = parse(&format!("{MESH}[consensus]\nlinks = \"routed\"")).unwrap();
    assert_eq!(routed.consensus.links, ControlLinks::Routed);
    refused_with(
        "[consensus]\nlinks = \"route\"",
        "c.toml: consensus.links: \"route\" is no way for consensus (direct, routed; did you mean \"routed\"?)",
    );
}

#[test]
fn projects_are_made_by_their_first_use_unless_the_file_says_otherwise() {
    assert_eq!(parse(MESH).unwrap().projects, Projects::OnUse);
    let listed = parse(&MESH.replace("\"mesh\"", "\"mesh\"\nprojects = \"listed\"")).unwrap();
    assert_eq!(listed.projects, Projects::Listed);
    refused_instead_of(
        "\"mesh\"",
        "\"mesh\"\nprojects = \"list\"",
        "c.toml: cluster.projects: \"list\" is no way to make projects (on-use, listed; did you mean \"listed\"?)",
    );
}

#[test]
fn the_shipped_files_load() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster-configs");
    for (name, nodes) in [("mesh-3", 3), ("star-5", 5), ("ring-5", 5), ("hierarchical-7", 7)] {
        let config = ClusterConfig::load(&folder.join(format!("{name}.toml"))).unwrap();
        assert_eq!((config.name.as_str(), config.nodes.len()), (name, nodes));
        assert_eq!(
            (config.consensus, config.limits, config.rounds, config.log),
            (
                Consensus::default(),
                Limits::default(),
                Rounds::default(),
                Log::default()
            )
        );
        let text = std::fs::read_to_string(&config.file).unwrap();
        assert!(text.starts_with("# "), "{name}.toml opens with what it shows");
    }
    let hosts = ClusterConfig::load(&folder.join("three-hosts.toml")).unwrap();
    assert_eq!(hosts.check_exposure(false).unwrap(), [] as [String; 0]);
    assert_eq!((hosts.nodes.len(), hosts.auth), (3, Auth::Token));
}

#[test]
fn a_written_configuration_loads_as_itself() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "{}[limits]\nround_bytes = 8192\ndisk_watermark_bytes = \"1 MiB\"\nballast_bytes = 0\n[rounds]\nmax = 7\n{TLS}{TOKENS}",
        MESH.replace("\"mesh\"", "\"hierarchical\"")
    );
    let written = parse(&text)
        .unwrap()
        .with_free_ports()
        .unwrap()
        .write_to(&folder.path().join("new"))
        .unwrap();
    assert_eq!(ClusterConfig::load(&written.file).unwrap(), written);
    assert_ne!(written.nodes[0].links, written.nodes[0].http);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,80}", at in 0..MESH.len()) {
        let _ = parse(&text);
        let _ = parse(&format!("{}{text}{}", &MESH[..at], &MESH[at..]));
        let _ = parse(&MESH[..at]);
    }
}
