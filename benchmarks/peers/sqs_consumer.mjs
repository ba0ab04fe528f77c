// BBC's sqs-consumer: so many consumers in one process, one handler call and one DeleteMessage per message.
// node sqs_consumer.mjs ADDRESS COUNT CONSUMERS, in a folder with node_modules; prints one line of JSON.
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(path.join(process.cwd(), "package.json"));
const { SQSClient } = require("@aws-sdk/client-sqs");
const entry = path.join(process.cwd(), "node_modules/sqs-consumer/dist/esm/index.js");
const { Consumer } = await import(pathToFileURL(entry).href);
const [address, countText, consumers] = process.argv.slice(2);
const [count, warm] = [Number(countText), 200];
const sqs = new SQSClient({
  endpoint: address,
  region: "us-east-1",
  credentials: { accessKeyId: "a", secretAccessKey: "b" },
});
let taken = 0;
let [cpu, wall] = [process.cpuUsage(), performance.now()];

async function handleMessage(message) {
  JSON.parse(message.Body);
  taken += 1;
  if (taken === warm) [cpu, wall] = [process.cpuUsage(), performance.now()];
  if (taken < warm + count) return message;
  const used = process.cpuUsage(cpu);
  const spent = { wall: (performance.now() - wall) / 1e3, cpu: (used.user + used.system) / 1e6 };
  console.log(JSON.stringify({ count, ...spent, facts: {} }));
  process.exit(0);
}

for (let index = 0; index < Number(consumers); index++) {
  const consumer = Consumer.create({
    queueUrl: `${address}/000000000000/q.fifo`,
    sqs,
    batchSize: 10,
    waitTimeSeconds: 0,
    pollingWaitTimeMs: 0,
    suppressFifoWarning: true,
    handleMessage,
  });
  for (const event of ["error", "processing_error"]) {
    consumer.on(event, (error) => {
      console.error(error.message);
      process.exit(1);
    });
  }
  consumer.start();
}
