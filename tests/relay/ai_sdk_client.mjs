// Drives the AI SDK's own chat client: reads a list of jobs as JSON from its standard input, and prints one result a line.
//   {"api": URL, "text": what the user says} sends a message; {"api": URL, "resume": chat id} asks for a stream that may go on;
//   "stop_after": characters of text after which the stop button is pressed.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(pathToFileURL(process.argv[2] + '/'));
const { AbstractChat, DefaultChatTransport } = await import(pathToFileURL(require.resolve('ai')).href);

class State {
  status = 'ready';
  error = undefined;
  messages = [];
  pushMessage = message => { this.messages = [...this.messages, message]; };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (index, message) => {
    this.messages = [...this.messages.slice(0, index), structuredClone(message), ...this.messages.slice(index + 1)];
  };
  snapshot = value => structuredClone(value);
}

class Chat extends AbstractChat {
  constructor(options, state) {
    super({ ...options, state });
    this.kept = state;
  }
}

let input = '';
for await (const chunk of process.stdin) input += chunk;
for (const job of JSON.parse(input)) {
  let reported = null;
  const chat = new Chat(
    {
      id: job.resume ?? job.id,
      messages: job.messages ?? [],
      transport: new DefaultChatTransport({ api: job.api }),
      onError: error => { reported = String(error); },
    },
    new State(),
  );
  chat.kept.messages = job.messages ?? [];
  const text = () => JSON.stringify(chat.messages.at(-1)?.parts ?? []);
  let watch;
  if (job.stop_after !== undefined) {
    watch = setInterval(() => { if (text().length > job.stop_after) chat.stop(); }, 5);
  }
  if (job.resume !== undefined) await chat.resumeStream();
  else await chat.sendMessage({ text: job.text });
  clearInterval(watch);
  const error = chat.error === undefined ? null : String(chat.error.message);
  console.log(JSON.stringify({ status: chat.status, error, reported, messages: chat.messages }));
}
