// A model's Markdown as elements, safely, and again and again while it grows.
import { Marked } from './vendor/marked.esm.js';
import DOMPurify from './vendor/purify.es.js';

const escaped = text => text.replace(/[&<>"']/g, one => `&#${one.charCodeAt(0)};`);

const marked = new Marked({
  gfm: true,
  renderer: {
    // The page has two levels of headings of its own.
    heading({ tokens, depth }) {
      const level = Math.min(6, depth + 2);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    // HTML is shown as it was written. A picture would tell its server what was said here: it becomes a link.
    html: ({ text }) => escaped(text),
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? '☑ ' : '☐ '),
  },
});

const ALLOWED = {
  ALLOWED_TAGS: ['p', 'br', 'hr', 'strong', 'em', 'del', 'a', 'code', 'pre', 'blockquote', 'ul', 'ol', 'li',
    'h3', 'h4', 'h5', 'h6', 'table', 'thead', 'tbody', 'tr', 'th', 'td'],
  ALLOWED_ATTR: ['href', 'title', 'start', 'align'],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

function elementsOf(token) {
  const fragment = DOMPurify.sanitize(marked.parser([token]), ALLOWED);
  for (const link of fragment.querySelectorAll('a')) {
    link.target = '_blank';
    link.rel = 'noopener noreferrer nofollow';
  }
  for (const table of fragment.querySelectorAll('table')) {
    const box = document.createElement('div');
    box.className = 'scrolls';
    table.replaceWith(box);
    box.append(table);
  }
  // What scrolls must be reached by the keyboard.
  for (const box of fragment.querySelectorAll('pre, .scrolls')) box.tabIndex = 0;
  return fragment;
}

const shown = new WeakMap();

/** Show a text in an element. Blocks that have not changed stay as they are: what the reader has selected, too. */
export function showMarkdown(element, text) {
  const tokens = marked.lexer(text);
  const links = Object.keys(tokens.links).length;
  const before = shown.get(element) ?? { blocks: [], links: 0 };
  const written = tokens.filter(token => token.type !== 'space' && token.type !== 'def');
  const blocks = written.map(token => token.raw);
  written.forEach((token, index) => {
    // A reference like [1] may be explained further down.
    if (before.blocks[index] === blocks[index] && before.links === links) return;
    const box = element.children[index] ?? element.appendChild(document.createElement('div'));
    box.replaceChildren(elementsOf(token));
  });
  while (element.children.length > written.length) element.lastChild.remove();
  shown.set(element, { blocks, links });
}
