//! What may be open to the network.

use super::*;

/// Whether a cluster with these addresses may start, or the line that says why not.
fn exposure(old: &str, new: &str, sections: &str) -> Result<(), String> {
    let config = parse(&format!("{}{sections}", MESH.replace(old, new))).unwrap();
    let checked = config.check_exposure(false);
    checked
        .map(|warnings| assert!(warnings.is_empty()))
        .map_err(|error| error.to_string())
}

#[test]
fn what_others_can_reach_demands_tls_and_doors_demand_tokens_too() {
    let (links, http) = ("127.0.0.1:7101", "127.0.0.1:7201");
    assert_eq!(exposure(links, links, ""), Ok(()));
    assert_eq!(exposure(links, "[::1]:7101", ""), Ok(()));
    assert_eq!(exposure(links, "10.0.0.3:7101", TLS), Ok(()));
    assert_eq!(exposure(http, "10.0.0.3:7201", &format!("{TLS}{TOKENS}")), Ok(()));
    let make = "make certificates with `queenright tls init c.toml` and name their folder in [tls] dir";
    let open = "is not a loopback address, and would be open to the network";
    assert_eq!(
        exposure(links, "10.0.0.3:7101", ""),
        Err(format!(
            "c.toml: nodes[0].links: \"10.0.0.3:7101\" {open} without TLS ({make}, or say --insecure)"
        ))
    );
    let auth = "set [doors] auth = \"token\"";
    assert_eq!(
        exposure(http, "10.0.0.3:7201", ""),
        Err(format!(
            "c.toml: nodes[0].http: \"10.0.0.3:7201\" {open} without TLS and tokens ({make}, and {auth}, or say --insecure)"
        ))
    );
    assert_eq!(
        exposure(http, "10.0.0.3:7201", TLS),
        Err(format!(
            "c.toml: nodes[0].http: \"10.0.0.3:7201\" {open} without tokens ({auth}, or say --insecure)"
        ))
    );
    assert_eq!(
        exposure(http, "10.0.0.3:7201", TOKENS),
        Err(format!(
            "c.toml: nodes[0].http: \"10.0.0.3:7201\" {open} without TLS ({make}, or say --insecure)"
        ))
    );
}

#[test]
fn what_is_open_on_purpose_is_said_aloud() {
    let text = MESH.replace("127.0.0.1", "10.0.0.3");
    let warnings = parse(&text).unwrap().check_exposure(true).unwrap();
    assert_eq!(
        warnings,
        [
            "c.toml: nodes[0].links: 10.0.0.3:7101 is open to the network without TLS",
            "c.toml: nodes[0].http: 10.0.0.3:7201 is open to the network without TLS and tokens",
        ]
    );
    assert!(parse(MESH).unwrap().check_exposure(true).unwrap().is_empty());
}
