//! The JSON schema of the file, from the same tables as its check.
//!
//! The check is wider in one thing: `client_id: 123` is text to it, a number to a schema. And it
//! knows what belongs together, which is left out here.

use serde_json::{Map, Value, json};

use super::keys;
use super::limits::{Bound, Unit};
use super::shape::{Kind, Need, SECRET_KEYS, Table};

/// The whole schema, draft 2020-12.
pub(super) fn schema() -> Value {
    let mut schema = table(&keys::FILE);
    if let Value::Object(object) = &mut schema {
        object.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        object.insert("title".to_owned(), json!("mailsplice configuration"));
        object.insert("$defs".to_owned(), json!({ "secret": secret() }));
    }
    schema
}

fn table(table: &Table) -> Value {
    let mut properties = Map::new();
    for key in table.keys {
        let mut value = kind(&key.kind);
        if let Value::Object(object) = &mut value {
            object.insert("description".to_owned(), json!(key.doc));
        }
        properties.insert(key.name.to_owned(), value);
    }
    let must = table.keys.iter().filter(|key| key.need == Need::Must);
    let must: Vec<_> = must.map(|key| key.name).collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if let Value::Object(object) = &mut schema
        && !must.is_empty()
    {
        object.insert("required".to_owned(), json!(must));
    }
    schema
}

fn kind(kind_of: &Kind) -> Value {
    match kind_of {
        Kind::Text(_) => json!({ "type": "string", "minLength": 1 }),
        Kind::Choice(choice) => json!({ "enum": (choice.words)() }),
        Kind::Limit(bound) => limit(bound),
        Kind::Secret => json!({ "$ref": "#/$defs/secret" }),
        Kind::List(item) => json!({ "type": "array", "items": kind(item) }),
        Kind::OneOrMore(item) => json!({
            "anyOf": [kind(item), { "type": "array", "items": kind(item), "minItems": 1 }],
        }),
        Kind::Table(inner) => table(inner),
        Kind::Params(_) => json!({
            "type": "object",
            "additionalProperties": { "type": "string" },
        }),
    }
}

fn limit(bound: &Bound) -> Value {
    let number = json!({ "type": "integer", "minimum": bound.least, "maximum": bound.most });
    let mut schema = match bound.unit {
        Unit::Count => number,
        Unit::Size => json!({
            "anyOf": [number, { "type": "string", "pattern": "^[0-9]+ *([KMG]iB)?$" }],
        }),
        Unit::Time => json!({ "type": "string", "pattern": "^[0-9]+ *(ms|s|m|h|d)$" }),
    };
    if let Value::Object(object) = &mut schema {
        let default = match bound.unit {
            Unit::Count => json!(bound.default),
            Unit::Size | Unit::Time => json!(bound.show(bound.default)),
        };
        object.insert("default".to_owned(), default);
    }
    schema
}

fn secret() -> Value {
    let forms: Vec<_> = SECRET_KEYS
        .iter()
        .map(|(name, doc)| {
            let value = if *name == "command" {
                let word = json!({ "type": "string" });
                json!({ "type": "array", "items": word, "minItems": 1, "description": doc })
            } else {
                json!({ "type": "string", "minLength": 1, "description": doc })
            };
            json!({
                "type": "object",
                "properties": { *name: value },
                "required": [name],
                "additionalProperties": false,
            })
        })
        .collect();
    json!({ "description": "Where a secret lies; it never stands in this file.", "oneOf": forms })
}
