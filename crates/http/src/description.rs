//! Write the OpenAPI 3.1 description from the table of queries.

use serde_json::{Map, Value, json};
use tessera_client::routes::{Answer, Kind, Param, ROUTES, Route};

fn schema(kind: Kind) -> Value {
    match kind {
        Kind::Hash | Kind::Key => json!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$" }),
        Kind::Number => json!({ "type": "integer", "format": "uint64", "minimum": 0 }),
        Kind::Short => json!({ "type": "integer", "minimum": 0, "maximum": 65535 }),
        Kind::Flag => json!({ "type": "integer", "enum": [0, 1] }),
    }
}

fn parameter(route: &Route, param: &Param) -> Value {
    let in_path = route.in_path(param.name);
    json!({
        "name": param.name, "in": if in_path { "path" } else { "query" }, "required": in_path,
        "description": param.about, "schema": schema(param.kind),
    })
}

/// What the data of an answer is wrapped in.
fn answer_schema(route: &Route) -> Value {
    match route.answer {
        Answer::Read(_) => json!({ "$ref": "#/components/schemas/Read" }),
        _ => json!({ "type": "object" }),
    }
}

fn operation(route: &Route) -> Value {
    let params: Vec<Value> = route.params.iter().map(|param| parameter(route, param)).collect();
    let json_of = |schema: Value| json!({ "application/json": { "schema": schema } });
    let problem = || json!({ "$ref": "#/components/schemas/Problem" });
    let mut operation = json!({
        "summary": route.about,
        "parameters": params,
        "x-example": route.example,
        "responses": {
            "200": { "description": "Checked against a final header", "content": json_of(answer_schema(route)) },
            "default": { "description": "Refused", "content": json_of(problem()) },
        },
    });
    if route.posts() {
        operation["requestBody"] = json!({
            "required": true,
            "content": {
                "application/octet-stream": { "schema": { "type": "string", "format": "binary" } },
                "text/plain": { "schema": { "type": "string", "pattern": "^[0-9a-fA-F]+$" } },
            },
        });
    }
    operation
}

/// The description.
pub fn openapi() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let method = if route.posts() { "post" } else { "get" };
        let entry = paths.entry(route.path).or_insert_with(|| json!({}));
        entry[method] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tessera ledger",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every answer was checked against the committee's group key. Integers of more than 32 \
                bits are strings of all their digits; amounts of nano-U have a second field with the suffix _u, in U.",
        },
        "paths": paths,
        "components": { "schemas": {
            "Read": {
                "type": "object",
                "required": ["height", "time_ms", "data"],
                "properties": {
                    "height": { "type": "string", "description": "Height of the state that this is true of" },
                    "time_ms": { "type": "string", "description": "Time of that block, milliseconds since 1970" },
                    "data": { "type": "object" },
                    "proofs": {
                        "type": "array",
                        "description": "With proof=1: the keys of the cells read, in parts, each with the canonical \
                            bytes of its state proof, hexadecimal",
                        "items": {
                            "type": "object",
                            "required": ["keys", "proof"],
                            "properties": {
                                "keys": { "type": "array", "items": { "type": "string" } },
                                "proof": { "type": "string" },
                            },
                        },
                    },
                },
            },
            "Problem": {
                "type": "object",
                "required": ["error", "expected", "got", "todo"],
                "properties": {
                    "error": { "type": "string", "description": "Its name" },
                    "expected": { "type": "string" },
                    "got": { "type": "string" },
                    "todo": { "type": "string", "description": "What to do" },
                },
            },
        } },
    })
}
