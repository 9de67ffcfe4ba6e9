//! Somebody else's project beside this workspace, `examples/attested-data-key`: it
//! takes nsm-sim and kms-mock without their default features, builds without a
//! network from what this workspace has, and its tests pass.

use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

/// The project's folder.
const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/attested-data-key");

/// Name and version of everything from a registry in a lock file.
fn locked(folder: &str) -> BTreeSet<(String, String)> {
    let lock = fs::read_to_string(Path::new(folder).join("Cargo.lock")).unwrap();
    let lock: toml::Table = lock.parse().unwrap();
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| package.get("source").is_some())
        .map(|package| (text(&package["name"]), text(&package["version"])))
        .collect()
}

#[test]
fn its_versions_are_those_of_this_workspace() {
    let workspace = locked(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let others: Vec<_> = locked(PROJECT).difference(&workspace).cloned().collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn its_tests_pass_without_default_features_and_without_a_network() {
    // What both need is built once: with the same versions, in the same profile.
    let workspace = include_str!("../../../Cargo.toml").parse::<toml::Table>();
    let dev = workspace.unwrap()["profile"]["dev"].clone();
    let profile = toml::Table::from_iter([("dev".to_owned(), dev)]);
    let config = toml::Table::from_iter([("profile".to_owned(), profile.into())]);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = target.join("strangers_project.toml");
    fs::write(&file, config.to_string()).unwrap();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--offline", "--locked", "--config"])
        .arg(&file)
        .current_dir(PROJECT)
        .env("CARGO_TARGET_DIR", target.join(".."))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    assert!(
        told.contains("test only_the_measured_image_gets_a_data_key ... ok"),
        "{told}"
    );
}
