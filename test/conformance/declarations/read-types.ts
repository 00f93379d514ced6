/** Types of an SDK, as its compiler sees them, turned into shapes. What JSON cannot carry (functions, classes with behaviour) is an error. */
import type ts from 'typescript-api';
import type { Field, Shape } from './shape.ts';

export interface TypeReader {
  read(type: ts.Type): Shape;
  /** The page classes hold what came: of these only the fields that the class itself declares. */
  readPage(type: ts.Type): Shape;
  readonly shapes: Record<string, Shape>;
}

export function createTypeReader(api: typeof ts, checker: ts.TypeChecker): TypeReader {
  const shapes: Record<string, Shape> = {};
  const names = new Map<ts.Type, string>();

  function read(type: ts.Type): Shape {
    const { TypeFlags } = api;
    if (type.flags & (TypeFlags.Any | TypeFlags.Unknown)) return { kind: 'unknown' };
    if (type.flags & TypeFlags.Null) return { kind: 'null' };
    if (type.isStringLiteral() || type.isNumberLiteral()) return { kind: 'literal', value: type.value };
    if (type.flags & TypeFlags.BooleanLiteral) return { kind: 'literal', value: checker.typeToString(type) === 'true' };
    if (type.flags & TypeFlags.Boolean) return { kind: 'boolean' };
    if (type.flags & TypeFlags.String) return { kind: 'string' };
    if (type.flags & TypeFlags.Number) return { kind: 'number' };
    if (type.isIntersection()) return readIntersection(type);
    const name = nameOf(type);
    return name === null ? readStructure(type) : readNamed(type, name);
  }

  /** `string & {}`, by which a list of names stays open; anything else is one object with the fields of all. */
  function readIntersection(type: ts.IntersectionType): Shape {
    const text = type.types.find((part) => part.flags & api.TypeFlags.String);
    return text ? { kind: 'string' } : readObject(type);
  }

  function readNamed(type: ts.Type, wanted: string): Shape {
    let name = names.get(type);
    if (name === undefined) {
      name = wanted;
      // Two files may use the same name for different things.
      for (let number = 2; name in shapes; number++) name = `${wanted}#${number}`;
      names.set(type, name);
      shapes[name] = { kind: 'unknown' }; // Taken, while the type is read and may refer to itself.
      shapes[name] = readStructure(type);
    }
    return { kind: 'ref', name };
  }

  function readStructure(type: ts.Type): Shape {
    if (type.isUnion()) {
      const members = type.types.filter((member) => !(member.flags & api.TypeFlags.Undefined)).map(read);
      return members.length === 1 ? members[0]! : { kind: 'union', of: members };
    }
    if (checker.isArrayType(type)) return { kind: 'array', of: read(checker.getTypeArguments(type as ts.TypeReference)[0]!) };
    return readObject(type);
  }

  function readObject(type: ts.Type): Shape {
    if (!(type.flags & (api.TypeFlags.Object | api.TypeFlags.Intersection)) || type.getCallSignatures().length > 0 || type.isClass())
      throw new Error(`${checker.typeToString(type)} is nothing that JSON can carry`);
    return readFields(type, type.getProperties());
  }

  function readFields(type: ts.Type, properties: readonly ts.Symbol[]): Shape {
    const fields = Object.fromEntries(properties.map((property) => [property.name, readField(property)]));
    const [index] = checker.getIndexInfosOfType(type);
    return { kind: 'object', fields, ...(index ? { rest: read(index.type) } : {}) };
  }

  function readField(property: ts.Symbol): Field {
    const shape = read(checker.getTypeOfSymbol(property));
    return {
      // To the compiler a time is a string like any other; its name tells.
      shape: /_at$/.test(property.name) ? asTimestamp(shape) : shape,
      ...(property.flags & api.SymbolFlags.Optional ? { optional: true as const } : {}),
    };
  }

  function nameOf(type: ts.Type): string | null {
    if (type.aliasSymbol) return type.aliasTypeArguments ? null : type.aliasSymbol.name;
    const symbol = type.symbol as ts.Symbol | undefined;
    return symbol && symbol.flags & api.SymbolFlags.Interface && !checker.isArrayType(type) ? symbol.name : null;
  }

  return {
    read,
    readPage(type) {
      const own = type.getProperties().filter(({ valueDeclaration }) => {
        const declared = valueDeclaration && api.isPropertyDeclaration(valueDeclaration) ? valueDeclaration : null;
        return declared !== null && declared.parent.name?.text === type.symbol.name;
      });
      return readFields(type, own);
    },
    shapes,
  };
}

function asTimestamp(shape: Shape): Shape {
  if (shape.kind === 'string') return { kind: 'string', format: 'timestamp' };
  if (shape.kind === 'array') return { kind: 'array', of: asTimestamp(shape.of) };
  return shape.kind === 'union' ? { kind: 'union', of: shape.of.map(asTimestamp) } : shape;
}
