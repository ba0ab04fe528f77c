// Emmett on SQLite with its own settings: append by so many to 1,000 streams, then read everything, 1,000 at a time.
// node emmett.mjs MESSAGES FOLDER COUNT PER, in a folder with node_modules; prints one line of JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(path.join(process.cwd(), "package.json"));
const entry = require.resolve("@event-driven-io/emmett-sqlite").replace(/index\.cjs$/, "index.js");
const { getSQLiteEventStore, readMessagesBatch, sqliteConnection } = await import(pathToFileURL(entry).href);
const [messages, folder, countText, perText] = process.argv.slice(2);
const [count, per] = [Number(countText), Number(perText)];
const bodies = readFileSync(messages, "utf8").trim().split("\n").map((line) => JSON.parse(line));
const fileName = path.join(folder, "emmett.db");

function timing() {
  const [cpu, wall] = [process.cpuUsage(), performance.now()];
  return () => {
    const used = process.cpuUsage(cpu);
    return { wall: (performance.now() - wall) / 1e3, cpu: (used.user + used.system) / 1e6 };
  };
}

const store = getSQLiteEventStore({
  fileName,
  connectionOptions: { singleton: true },
  schema: { autoMigration: "CreateOrUpdate" },
});
const appending = timing();
for (let first = 0; first < count; first += per) {
  const events = [];
  for (let step = 0; step < per; step++) events.push({ type: "Update", data: bodies[(first + step) % bodies.length] });
  await store.appendToStream(`ticket-${Math.floor(first / per) % 1000}`, events);
}
const appended = appending();

const connection = sqliteConnection({ fileName });
const last = new Map();
let [after, read] = [0n, 0];
const reading = timing();
for (;;) {
  const batch = await readMessagesBatch(connection, { after, batchSize: 1000 });
  for (const message of batch.messages) last.set(message.metadata.streamName, message.data.Body.status);
  read += batch.messages.length;
  if (!batch.messages.length) break;
  after = batch.currentGlobalPosition;
}
const done = reading();
const facts = { read_count: read, read_wall: done.wall, read_cpu: done.cpu };
console.log(JSON.stringify({ count, ...appended, facts }));
process.exit(0);
