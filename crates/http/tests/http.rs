//! Requests over the surface and over a socket: every route is described, bounds hold, refusals have a form.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};
use tessera_canon::{Blob, List, SecretKey, encode, hex};
use tessera_client::{
    routes::{ROUTES, Route, Service},
    testing::{Lie, TestChain, TestSource},
};
use tessera_http::{HttpError, HttpLimits, HttpServer, openapi, router};
use tessera_ledger::{
    Action, FeeSource, Genesis, Params, SignedTx, Tx, action::Transfer, genesis::GenesisAccount,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::ServiceExt as _;

fn key() -> SecretKey {
    SecretKey::from_seed([3; 32])
}

fn chain() -> TestChain {
    let genesis = Genesis {
        name: "http".parse().unwrap(),
        time_ms: 1,
        validators: List::default(),
        accounts: List::new(vec![GenesisAccount { key: key().public(), balance: 1_500_000_000 }]).unwrap(),
        params: Params::demo().into(),
        consensus: Blob::default(),
    };
    TestChain::start(genesis, 1)
}

fn service(chain: &TestChain, lie: Lie) -> Service<TestSource> {
    let client = chain.client(TestSource::new(vec![(chain.clone(), lie)]));
    Service { client, genesis: chain.genesis().into() }
}

async fn ask(
    chain: &TestChain,
    limits: HttpLimits,
    request: Request<Body>,
) -> (StatusCode, Value, Vec<String>) {
    let response = router(service(chain, Lie::None), limits).oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap(), headers.keys().map(ToString::to_string).collect())
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}
fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("/transactions").body(body.into()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_description_has_every_route_and_its_examples_are_well_formed() {
    let chain = chain();
    let (status, described, headers) = ask(&chain, HttpLimits::default(), get("/openapi.json")).await;
    assert_eq!((status, &described), (StatusCode::OK, &openapi()));
    assert!(!headers.iter().any(|name| name.starts_with("access-control")), "{headers:?}");
    let paths = described["paths"].as_object().unwrap();
    let own: BTreeSet<&str> = ROUTES.iter().map(|route| route.path).collect();
    assert_eq!(paths.keys().map(String::as_str).collect::<BTreeSet<_>>(), own);
    for route in ROUTES {
        let operation = &paths[route.path][if route.posts() { "post" } else { "get" }];
        let example = operation["x-example"].as_str().unwrap();
        let (found, _) = Route::find(example, route.posts()).unwrap();
        assert_eq!(found.path, route.path, "the example of one route is another's");
        let braces = route.path.matches('{').count();
        let described = operation["parameters"].as_array().unwrap();
        assert_eq!(described.iter().filter(|param| param["in"] == "path").count(), braces, "{}", route.path);
        assert_eq!(described.len(), route.params.len());
        for param in described {
            assert!(param["description"].as_str().is_some_and(|text| !text.is_empty()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_goes_in_and_its_effect_comes_out() {
    let chain = chain();
    let to = SecretKey::from_seed([4; 32]).public();
    let network = chain.genesis().network_id();
    let action = Action::Transfer(Transfer { to, amount: 7 });
    let fee_from = FeeSource::default();
    let body = Tx { network, sender: key().public(), nonce: 0, fee: 500_000, fee_from, action };
    let tx = SignedTx::sign(&key(), body);
    let limits = HttpLimits::default();
    let (status, taken, _) = ask(&chain, limits, post(hex(&encode(&tx)))).await;
    assert_eq!((status, &taken["tx"]), (StatusCode::OK, &tx.id().to_string().into()));
    chain.block(Vec::new());
    let (_, receipt, _) = ask(&chain, limits, get(taken["see"].as_str().unwrap())).await;
    assert_eq!((&receipt["height"], &receipt["refused"]), (&"2".into(), &Value::Null));
    let (_, account, headers) = ask(&chain, limits, get(&format!("/accounts/{to}"))).await;
    assert_eq!(
        (&account["data"]["balance"], &account["data"]["balance_u"]),
        (&"7".into(), &"0.000000007".into())
    );
    assert!(headers.contains(&"content-type".to_string()));
    let (_, explained, _) = ask(&chain, limits, get(&format!("/explain/{to}"))).await;
    assert_eq!((&explained["holds"], &explained["parts"][0]["sum"]), (&true.into(), &"7".into()));
}

#[tokio::test(start_paused = true)]
async fn what_is_out_of_bounds_is_refused_by_name() {
    let chain = chain();
    let limits = HttpLimits::default();
    let long = format!("/runs?from={}", "1".repeat(3000));
    let put = Request::put("/runs").body(Body::empty()).unwrap();
    for (request, status, name) in [
        (get("/nowhere"), 404, "no_route"),
        (get("/runs/xyz"), 400, "argument"),
        (get(&long), 414, "path"),
        (put, 405, "method"),
        (Request::post("/runs").body(Body::empty()).unwrap(), 405, "method"),
        (get("/transactions"), 405, "method"),
        (post(vec![b'0'; limits.body + 1]), 413, "body"),
        (post("zz"), 400, "decode"),
    ] {
        let (got, body, _) = ask(&chain, limits, request).await;
        assert_eq!((got.as_u16(), body["error"].as_str()), (status, Some(name)), "{body}");
        for field in ["expected", "got", "todo"] {
            assert!(body[field].is_string(), "{field} of {body}");
        }
    }
    let (status, body, _) = ask(&chain, HttpLimits { at_work: 0, ..limits }, get("/runs")).await;
    assert_eq!((status.as_u16(), body["error"].as_str()), (429, Some("busy")));

    // Nobody answers: the client's pauses are longer than the request may take.
    let silent =
        router(service(&chain, Lie::Busy), HttpLimits { time: Duration::from_millis(100), ..limits });
    assert_eq!(silent.oneshot(get("/runs")).await.unwrap().status().as_u16(), 504);
    let lying = router(service(&chain, Lie::Forgery), limits);
    assert_eq!(lying.oneshot(get("/network")).await.unwrap().status().as_u16(), 503);
}

#[tokio::test]
async fn a_socket_answers_until_it_is_dropped_and_a_taken_port_is_named() {
    let chain = chain();
    let any = "127.0.0.1:0".parse().unwrap();
    let server = HttpServer::start(service(&chain, Lie::None), any, HttpLimits::default()).await.unwrap();
    let mut socket = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    socket.write_all(b"GET /header HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(body.contains("\"state_root\""), "{body}");
    let taken = HttpServer::start(service(&chain, Lie::None), server.address(), HttpLimits::default()).await;
    let HttpError::Listen { address, .. } = taken.unwrap_err();
    assert_eq!(address, server.address());
}

#[tokio::test]
async fn a_connection_that_sends_nothing_loses_its_place() {
    let chain = chain();
    let limits = HttpLimits { connections: 1, life: Duration::from_millis(300), ..HttpLimits::default() };
    let any = "127.0.0.1:0".parse().unwrap();
    let server = HttpServer::start(service(&chain, Lie::None), any, limits).await.unwrap();
    let mut idle = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let mut next = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    next.write_all(b"GET /header HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let (mut said, mut text) = (Vec::new(), String::new());
    // Ends only when the server closes it.
    idle.read_to_end(&mut said).await.ok();
    next.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}
