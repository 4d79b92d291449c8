//! The schema: the copy in docs/, and that it takes what the program takes.

use std::fs;
use std::path::Path;

use mailsplice::config;
use serde_json::Value;

use super::broken::fixture;
use super::{EXAMPLE, full_example};

/// To renew the copy: `UPDATE_SCHEMA=1 cargo test --test it config::schema`.
#[test]
fn the_copy_in_docs_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.schema.json");
    let current = serde_json::to_string_pretty(&config::schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, &current).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == current,
        "docs/config.schema.json is old: renew it with UPDATE_SCHEMA=1"
    );
}

#[test]
fn it_takes_the_example_and_refuses_broken_shapes() {
    let schema = config::schema();
    let fits = |text: &str| {
        let value: Value = serde_yaml::from_str(text).unwrap();
        fits(&value, &schema, &schema)
    };
    assert!(fits(EXAMPLE));
    assert!(fits(&full_example()));
    for name in [
        "unknown-keys",
        "types",
        "missing",
        "secrets",
        "not-a-map",
        "nothing-listens",
    ] {
        assert!(!fits(&fs::read_to_string(fixture(name)).unwrap()), "{name}");
    }
    for (from, to) in [
        ("protocol: imap", "protocol: http"),
        ("bind: 127.0.0.1:1993", "bind: []"),
        ("tls: implicit", "tls: 1"),
        ("user: alice@contoso.com", "usr: alice@contoso.com"),
        ("connections: 10000", "connections: 0"),
    ] {
        assert!(!fits(&full_example().replace(from, to)), "{to}");
    }
}

/// As much of JSON Schema as ours uses, without patterns.
fn fits(value: &Value, schema: &Value, root: &Value) -> bool {
    let Value::Object(rules) = schema else {
        return true;
    };
    rules.iter().all(|(rule, argument)| match rule.as_str() {
        "$ref" => {
            let pointer = argument.as_str().unwrap().trim_start_matches('#');
            fits(value, root.pointer(pointer).unwrap(), root)
        }
        "type" => match argument.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            other => panic!("type {other}"),
        },
        "enum" => argument.as_array().unwrap().contains(value),
        "anyOf" => argument
            .as_array()
            .unwrap()
            .iter()
            .any(|one| fits(value, one, root)),
        "oneOf" => {
            argument
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| fits(value, one, root))
                .count()
                == 1
        }
        "required" => {
            let names = argument.as_array().unwrap();
            let has = |name: &Value| value.get(name.as_str().unwrap()).is_some();
            !value.is_object() || names.iter().all(has)
        }
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let known = schema.get("properties");
            object.iter().all(|(name, value)| {
                known.is_some_and(|known| known.get(name).is_some())
                    || *argument != Value::Bool(false) && fits(value, argument, root)
            })
        }),
        "properties" => value.as_object().is_none_or(|object| {
            object.iter().all(|(name, value)| {
                argument
                    .get(name)
                    .is_none_or(|schema| fits(value, schema, root))
            })
        }),
        "items" => value
            .as_array()
            .is_none_or(|items| items.iter().all(|item| fits(item, argument, root))),
        "minItems" => value
            .as_array()
            .is_none_or(|items| items.len() as u64 >= argument.as_u64().unwrap()),
        "minLength" => value
            .as_str()
            .is_none_or(|text| text.len() as u64 >= argument.as_u64().unwrap()),
        "minimum" => value
            .as_u64()
            .is_none_or(|number| number >= argument.as_u64().unwrap()),
        "maximum" => value
            .as_u64()
            .is_none_or(|number| number <= argument.as_u64().unwrap()),
        "pattern" | "default" | "description" | "title" | "$schema" | "$defs" => true,
        other => panic!("rule {other}"),
    })
}
