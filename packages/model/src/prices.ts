/** Prices alone, for processes that ask no model. */
export { type PriceTable, priceTableOf } from './prices/price-table.ts';
