/**
 * Markdown as elements. The parser's tokens become elements of ours one by one; markup in the
 * text stays text, links lead only to web pages and mail, and nothing is loaded.
 */
import { lexer, type Token, type Tokens } from "marked";
import type { ComponentChildren } from "preact";

export function Markdown({ text }: { text: string }) {
  return <div class="markdown">{blocks(lexer(text, { gfm: true, breaks: false }))}</div>;
}

function blocks(tokens: Token[]): ComponentChildren {
  return tokens.map((token, index) => <Block key={index} token={token} />);
}

function Block({ token }: { token: Token }): ComponentChildren {
  switch (token.type) {
    case "space":
      return null;
    case "heading": {
      const Tag = `h${Math.min(6, (token as Tokens.Heading).depth + 2)}` as "h3";
      return <Tag>{inline((token as Tokens.Heading).tokens)}</Tag>;
    }
    case "paragraph":
      return <p>{inline((token as Tokens.Paragraph).tokens)}</p>;
    case "blockquote":
      return <blockquote>{blocks((token as Tokens.Blockquote).tokens)}</blockquote>;
    case "code":
      return (
        <pre>
          <code>{(token as Tokens.Code).text}</code>
        </pre>
      );
    case "hr":
      return <hr />;
    case "list": {
      const list = token as Tokens.List;
      const items = list.items.map((item, index) => <li key={index}>{blocks(item.tokens)}</li>);
      return list.ordered ? <ol start={Number(list.start) || 1}>{items}</ol> : <ul>{items}</ul>;
    }
    case "table": {
      const table = token as Tokens.Table;
      return (
        <table>
          <thead>
            <tr>{table.header.map((cell, i) => <th key={i}>{inline(cell.tokens)}</th>)}</tr>
          </thead>
          <tbody>
            {table.rows.map((row, i) => (
              <tr key={i}>{row.map((cell, j) => <td key={j}>{inline(cell.tokens)}</td>)}</tr>
            ))}
          </tbody>
        </table>
      );
    }
    case "text":
      return inline((token as Tokens.Text).tokens ?? [token]);
    default:
      return <>{token.raw}</>;
  }
}

function inline(tokens: Token[] | undefined): ComponentChildren {
  return (tokens ?? []).map((token, index) => <Inline key={index} token={token} />);
}

function Inline({ token }: { token: Token }): ComponentChildren {
  switch (token.type) {
    case "strong":
      return <strong>{inline((token as Tokens.Strong).tokens)}</strong>;
    case "em":
      return <em>{inline((token as Tokens.Em).tokens)}</em>;
    case "del":
      return <del>{inline((token as Tokens.Del).tokens)}</del>;
    case "codespan":
      return <code>{(token as Tokens.Codespan).text}</code>;
    case "br":
      return <br />;
    case "link":
      return <SafeLink link={token as Tokens.Link} />;
    case "escape":
    case "text":
      return <>{(token as Tokens.Text).text}</>;
    default:
      return <>{token.raw}</>;
  }
}

function SafeLink({ link }: { link: Tokens.Link }) {
  const isSafe = /^(https?:\/\/|mailto:)/i.test(link.href);
  if (!isSafe) return <>{link.raw}</>;
  return (
    <a href={link.href} rel="noopener noreferrer nofollow" target="_blank">
      {inline(link.tokens)}
    </a>
  );
}
