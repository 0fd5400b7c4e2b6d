//! Take requests from a socket, within bounds, and hand them to the service.

use crate::{door::Door, openapi};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    response::Response,
};
use serde_json::Value;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tessera_client::{
    Source,
    routes::{Problem, Route, Service},
};
use tokio::{net::TcpListener, sync::Semaphore, task::AbortHandle};

/// Bounds of the surface.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Bytes of a body: a transaction in hexadecimal digits, and some blanks.
    pub body: usize,
    /// Bytes of path and query.
    pub path: usize,
    /// Time for one answer.
    pub time: Duration,
    /// Answers at work at once; more requests are refused.
    pub at_work: usize,
    /// Connections at once; more wait.
    pub connections: usize,
    /// Greatest age of a connection; it is closed then, whatever it does.
    pub life: Duration,
}
impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            body: 2 * 16_384 + 1024,
            path: 2048,
            time: Duration::from_secs(20),
            at_work: 32,
            connections: 128,
            life: Duration::from_secs(60),
        }
    }
}

/// Why the surface did not open.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("cannot answer HTTP on {address}: {cause}; stop the other program or choose another --http")]
    Listen { address: SocketAddr, cause: io::Error },
}

/// The running surface; it ends when this is dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    task: AbortHandle,
}

impl HttpServer {
    /// Listen on `address`.
    pub async fn start<S: Source>(
        service: Service<S>,
        address: SocketAddr,
        limits: HttpLimits,
    ) -> Result<Self, HttpError> {
        let failed = |cause| HttpError::Listen { address, cause };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let router = router(service, limits);
        let door = Door::new(listener, limits.connections, limits.life);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(door, router).await {
                tracing::error!(%error, "the HTTP surface ended");
            }
        });
        Ok(Self { address, task: task.abort_handle() })
    }
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The surface without a socket.
pub fn router<S: Source>(service: Service<S>, limits: HttpLimits) -> Router {
    let room = Arc::new(Semaphore::new(limits.at_work));
    Router::new().fallback(move |request: Request| {
        let (service, room) = (service.clone(), room.clone());
        async move {
            let answer = match room.try_acquire() {
                Ok(_place) => tokio::time::timeout(limits.time, answer(&service, request, limits)).await,
                Err(_) => return respond(Err(busy(limits))),
            };
            respond(answer.unwrap_or_else(|_| Err(late(limits))))
        }
    })
}

fn busy(limits: HttpLimits) -> Problem {
    let expected = format!("at most {} requests at once", limits.at_work);
    Problem::new(429, "busy", expected, "one more", "ask again later")
}
fn late(limits: HttpLimits) -> Problem {
    let expected = format!("an answer within {} s", limits.time.as_secs());
    Problem::new(504, "late", expected, "none", "ask again later, or for less")
}

async fn answer<S: Source>(
    service: &Service<S>,
    request: Request,
    limits: HttpLimits,
) -> Result<Value, Problem> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_string();
    if path.len() > limits.path {
        let (expected, got) =
            (format!("a path of at most {} bytes", limits.path), format!("{} bytes", path.len()));
        return Err(Problem::new(414, "path", expected, &got, "shorten it"));
    }
    let post = match *request.method() {
        Method::GET | Method::HEAD => false,
        Method::POST => true,
        ref other => {
            let todo = "ask with GET, or send a transaction with POST /transactions";
            return Err(Problem::new(405, "method", "GET or POST", other.as_str(), todo));
        }
    };
    if !post && (path == "/openapi.json" || path == "/") {
        return Ok(openapi());
    }
    let (route, args) = Route::find(&path, post)?;
    if !route.posts() {
        return service.answer(route, &args, &path).await;
    }
    let body = body(request.into_body(), limits).await?;
    service.submit(&body).await
}

async fn body(body: Body, limits: HttpLimits) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, limits.body).await.map_err(|error| {
        let expected = format!("a body of at most {} bytes", limits.body);
        Problem::new(413, "body", expected, &error.to_string(), "send one transaction at a time")
    })
}

fn respond(answer: Result<Value, Problem>) -> Response {
    let (status, value) = match answer {
        Ok(value) => (StatusCode::OK, value),
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, problem.json())
        }
    };
    let mut response = Response::new(Body::from(format!("{value}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
