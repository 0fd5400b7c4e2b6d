//! Measure frames of 1 MiB over QUIC on loopback: rate with a few under way, and time of one echoed at a time.
//!
//! `cargo run --release -p tessera-net --example throughput [frames]`

use bytes::Bytes;
use std::{error::Error, time::Instant};
use tessera_net::{NetEvent, PeerId, QuicConfig, QuicTransport, SecretKey, Transport};

const FRAME: usize = 1 << 20;
const UNDER_WAY: usize = 8;

async fn frame(net: &QuicTransport) -> Result<(PeerId, u8, Bytes), Box<dyn Error>> {
    loop {
        if let NetEvent::Frame { from, channel, bytes } =
            net.recv().await.ok_or("the transport was closed")?
        {
            return Ok((from, channel, bytes));
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let count: usize = std::env::args().nth(1).map_or(Ok(500), |text| text.parse())?;
    let bind = || async {
        let config = QuicConfig::new("127.0.0.1:0".parse()?);
        Ok::<_, Box<dyn Error>>(QuicTransport::bind(&SecretKey::generate()?, config).await?)
    };
    let (a, b) = (bind().await?, bind().await?);
    let (to, address) = (b.local(), b.address().ok_or("no address")?);
    a.learn(to, address);
    b.learn(a.local(), a.address().ok_or("no address")?);
    // Channel 0 is echoed whole, channel 1 with one byte.
    let echo = tokio::spawn(async move {
        while let Ok((from, channel, bytes)) = frame(&b).await {
            let answer = if channel == 0 { bytes } else { Bytes::from_static(&[1]) };
            if b.send(from, channel, answer).is_err() {
                break;
            }
        }
    });
    let body = Bytes::from((0..FRAME).map(|i| (i % 251) as u8).collect::<Vec<u8>>());
    for (name, channel, under_way) in [("echo, one at a time", 0, 1), ("one way, 8 under way", 1, UNDER_WAY)]
    {
        let mut sent = std::collections::VecDeque::new();
        let mut times = Vec::new();
        let start = Instant::now();
        while times.len() < count {
            while sent.len() < under_way && times.len() + sent.len() < count {
                a.send(to, channel, body.clone())?;
                sent.push_back(Instant::now());
            }
            frame(&a).await?;
            times.push(sent.pop_front().ok_or("an answer without a question")?.elapsed());
        }
        let rate = (count * FRAME * 8) as f64 / start.elapsed().as_secs_f64() / 1e6;
        times.sort();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        println!(
            "{name}: {count} x 1 MiB, {rate:.0} Mbit/s each way that carries them, ms p50 {:.1} p99 {:.1} max {:.1}",
            at(50),
            at(99),
            at(100)
        );
    }
    println!("round trip {:?}, drops {:?}", a.stats().rtt.values().next(), a.stats().drops);
    a.close().await;
    echo.abort();
    Ok(())
}
