"""Products: what can be subscribed to."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api import paging, parameters, problems
from workflows.api.base import ApiView, answer, moment, read_id
from workflows.api.calls import Call
from workflows.models import Product

_BY_NAME = (paging.Key("name"),)


class Products(ApiView):
    """All products."""

    calls = {
        "GET": Call(
            "List products",
            {200: "ProductPage"},
            query=(parameters.text("tag", "Only products with this tag."), *parameters.PAGING),
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list products by name."""
        rows = Product.objects.all()
        if self.query["tag"] is not None:
            rows = rows.filter(tag=self.query["tag"])
        return answer(paging.page(request._request, rows, keys=_BY_NAME, query=self.query, render=product_json))


class ProductDetail(ApiView):
    """One product."""

    calls = {"GET": Call("Read one product", {200: "Product"}, refusals=(404,))}

    def look_up(self) -> None:
        """This will find the product."""
        found = Product.objects.filter(pk=read_id(self.kwargs["product_id"])).first()
        if found is None:
            raise problems.not_found()
        self.product = found

    def get(self, request: Request) -> HttpResponse:
        """This will give the product."""
        return answer(product_json(self.product))


def product_json(product: Product) -> dict[str, Any]:
    """This will give a product as the API shows it."""
    return {
        "id": str(product.pk),
        "name": product.name,
        "tag": product.tag,
        "description": product.description,
        "values_schema": product.values_schema,
        "fixed_inputs": product.fixed_inputs,
        "created_at": moment(product.created_at),
        "updated_at": moment(product.updated_at),
    }
